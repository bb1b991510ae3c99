//! An interpreter of the notation `vecprog` (tests/golden/llb/README.md) over the graph builder.
//!
//! Statements are evaluated when a later one needs them, from `marshal` back: mounts may be added to a command after
//! its results were used, so a command is only built once all statements that name it are known.

mod constraint;
mod exec;
mod file;
mod parse;
mod shlex;
mod source;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bkl::base::Platform;
use bkl::graph::ir::{Edge, Graph, SourceInfo, State, verify};
use bkl::graph::llb::{Definition, MarshalOptions, marshal, unmarshal};
use serde::Deserialize;
use serde_json::Value;

use constraint::{ConstraintOpt, Constraints};
use parse::Statement;

/// Why a program makes no definition.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Runs the program of a case's text.
pub(crate) fn run(case: &str) -> Result<Definition> {
    let program = parse::program(case)?;
    let run = || {
        let interpreter = Interpreter {
            names: parse::names(&program),
            program: &program,
            graph: RefCell::default(),
            bound: RefCell::default(),
            source_states: RefCell::default(),
        };
        interpreter.marshal()
    };
    // Evaluation is as deep as the program's longest chain of statements.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, run);
        thread.expect("threads can be started").join().unwrap_or_else(|_| Err("panicked".to_owned()))
    })
}

struct Interpreter<'p> {
    program: &'p [Statement],
    /// The statement that binds a name.
    names: HashMap<String, usize>,
    graph: RefCell<Graph>,
    bound: RefCell<HashMap<String, Bound>>,
    /// Texts that come from a state: their place in the graph and the state's name.
    source_states: RefCell<Vec<(usize, String)>>,
}

/// What a name stands for.
#[derive(Clone)]
enum Bound {
    State(Box<State>),
    Exec(Rc<exec::Exec>),
    Chain(Rc<file::Chain>),
    SourceMap(u32),
}

/// Reads the argument of a statement; keys the type does not have are errors.
fn args<'de, T: Deserialize<'de>>(json: &'de Value) -> Result<T> {
    T::deserialize(json).map_err(|error| format!("{json}: {error}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    on: String,
    mods: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Merge {
    inputs: Vec<String>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Diff {
    lower: String,
    upper: String,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requires {
    on: String,
    id: String,
    deps: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passthrough {
    id: String,
    inputs: Vec<PassthroughInput>,
    outputs: Vec<String>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PassthroughInput {
    from: String,
    #[serde(default)]
    output: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    on: String,
    #[serde(default)]
    filename: String,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    of: String,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceMap {
    filename: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    data: String,
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarshalDefaults {
    on: String,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marshal {
    state: String,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

impl Interpreter<'_> {
    fn marshal(&self) -> Result<Definition> {
        let last = self.program.last().filter(|it| it.op == "marshal");
        let Marshal { state: name, mut opts } = args(&last.ok_or("no marshal statement")?.json)?;
        // Only the state itself carries its defaults, not what is made of it.
        let statement = &self.program[*self.names.get(&name).ok_or("marshal of an unknown name")?];
        if statement.op == "marshal-defaults" {
            let mut defaults = args::<MarshalDefaults>(&statement.json)?.opts;
            defaults.append(&mut opts);
            opts = defaults;
        }
        self.definition(&self.state(&name)?, &opts)
    }

    /// The definition of a state as the program is so far.
    fn definition(&self, state: &State, opts: &[ConstraintOpt]) -> Result<Definition> {
        let options = self.marshal_options(opts)?;
        let sources: Vec<_> = self.source_states.borrow().clone();
        for (place, name) in sources {
            let tree = self.state(&name)?.tree;
            let bytes = marshal(&self.graph.borrow(), tree, &options).to_bytes();
            self.graph.borrow_mut().sources[place].definition = Some(bytes);
        }
        let graph = self.graph.borrow();
        verify::verify(&graph).map_err(|error| error.to_string())?;
        Ok(marshal(&graph, state.tree, &options))
    }

    fn marshal_options(&self, opts: &[ConstraintOpt]) -> Result<MarshalOptions> {
        let constraints = self.constraints(opts)?;
        let linux = Platform { os: "linux".to_owned(), arch: "amd64".to_owned(), ..Platform::default() };
        Ok(MarshalOptions {
            platform: Some(constraints.platform.unwrap_or(linux)),
            local_unique: constraints.unique,
            constraints: constraints.filters,
            metadata: constraints.metadata,
            caps: constraints.caps,
            ..MarshalOptions::default()
        })
    }

    fn bound(&self, name: &str) -> Result<Bound> {
        if let Some(bound) = self.bound.borrow().get(name) {
            return Ok(bound.clone());
        }
        let statement = *self.names.get(name).ok_or_else(|| format!("`{name}` is not bound"))?;
        let bound = self.evaluate(&self.program[statement], name)?;
        self.bound.borrow_mut().insert(name.to_owned(), bound);
        // A statement may bind several names at once; the first to be asked for bound them all.
        Ok(self.bound.borrow()[name].clone())
    }

    fn state(&self, name: &str) -> Result<State> {
        match self.bound(name)? {
            Bound::State(state) => Ok(*state),
            Bound::Exec(exec) => Ok(exec.root.clone()),
            Bound::Chain(_) | Bound::SourceMap(_) => Err(format!("`{name}` is no state")),
        }
    }

    fn evaluate(&self, statement: &Statement, name: &str) -> Result<Bound> {
        let json = &statement.json;
        let state = match statement.op.as_str() {
            "scratch" => State::new(None, None),
            "image" | "local" | "git" | "http" | "oci-layout" | "image-blob" | "oci-layout-blob"
            | "source" => self.source(&statement.op, json)?,
            // Laziness leaves no trace.
            "with" | "async" => {
                let With { on, mods } = args(json)?;
                mods.iter().try_fold(self.state(&on)?, |state, it| self.modified(&state, it))?
            }
            "run" => return Ok(Bound::Exec(Rc::new(self.exec(json, Some(name))?))),
            "add-mount" | "get-mount" => self.mount_result(statement)?,
            "file" => self.file(json)?,
            "actions" => return Ok(Bound::Chain(Rc::new(self.chain(json)?))),
            "merge" => self.merge(&args(json)?)?,
            "diff" => self.diff(&args(json)?)?,
            "requires" => {
                let Requires { on, id, deps } = args(json)?;
                let state = self.state(&on)?;
                let edge = state.tree.ok_or("requires on scratch")?;
                let deps: Vec<_> = deps.iter().map(|dep| self.state(dep)).collect::<Result<_>>()?;
                let needs: Vec<Edge> = deps.iter().filter_map(|dep| dep.tree).collect();
                let edge = self.graph.borrow_mut().require(&id, edge, &needs);
                state.with_tree(Some(edge), None)
            }
            "passthrough" => return self.passthrough(args(json)?, name),
            "build" => {
                let Build { on, filename, opts } = args(json)?;
                let state = self.state(&on)?;
                let edge = state.tree.ok_or("build of scratch")?;
                let constraints = self.constraints(&opts)?;
                let edge = self.graph.borrow_mut().build(edge, &filename, constraints.platform.clone());
                self.constrain(edge, &constraints);
                state.with_tree(Some(edge), None)
            }
            "reload" => {
                let Reload { of, opts } = args(json)?;
                let bytes = self.definition(&self.state(&of)?, &opts)?.to_bytes();
                let (graph, root) = unmarshal(&bytes).map_err(|error| error.to_string())?;
                let moved = self.graph.borrow_mut().absorb(graph);
                State::new(root.map(moved), None)
            }
            "sourcemap" => return self.source_map(args(json)?),
            "marshal-defaults" => self.state(&args::<MarshalDefaults>(json)?.on)?,
            op => return Err(format!("unknown statement `{op}`")),
        };
        Ok(Bound::State(Box::new(state)))
    }

    fn merge(&self, merge: &Merge) -> Result<State> {
        let states: Vec<State> = merge.inputs.iter().map(|it| self.state(it)).collect::<Result<_>>()?;
        let mut states = states.into_iter().filter(|state| state.tree.is_some());
        let Some(first) = states.next() else { return Ok(State::new(None, None)) };
        let trees: Vec<_> = std::iter::once(first.tree).chain(states.map(|state| state.tree)).collect();
        if trees.len() == 1 {
            return Ok(first);
        }
        let tree = self.graph.borrow_mut().merge(&trees);
        self.constrain_tree(tree, &merge.opts)?;
        Ok(first.with_tree(tree, None))
    }

    fn diff(&self, diff: &Diff) -> Result<State> {
        let (lower, upper) = (self.state(&diff.lower)?, self.state(&diff.upper)?);
        if lower.tree.is_none() {
            return Ok(if upper.tree.is_none() { State::new(None, None) } else { upper });
        }
        let tree = self.graph.borrow_mut().diff(lower.tree, upper.tree);
        self.constrain_tree(tree, &diff.opts)?;
        Ok(lower.with_tree(tree, None))
    }

    fn passthrough(&self, statement: Passthrough, name: &str) -> Result<Bound> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for input in &statement.inputs {
            match self.state(&input.from)?.tree {
                Some(edge) => {
                    if input.output {
                        outputs.push(inputs.len() as u32);
                    }
                    inputs.push(edge);
                }
                None if input.output => return Err("a passthrough gives scratch".to_owned()),
                None => {}
            }
        }
        if outputs.len() != statement.outputs.len() {
            return Err("a passthrough binds as many names as it has outputs".to_owned());
        }
        let first = self.graph.borrow_mut().passthrough(&statement.id, inputs, outputs);
        self.constrain_tree(Some(first), &statement.opts)?;
        let mut asked = None;
        for (output, bound_name) in (0..).zip(statement.outputs) {
            let state = State::new(Some(Edge { output, ..first }), None);
            let bound = Bound::State(Box::new(state));
            if bound_name == name {
                asked = Some(bound.clone());
            }
            self.bound.borrow_mut().insert(bound_name, bound);
        }
        asked.ok_or_else(|| format!("`{name}` is not an output"))
    }

    fn source_map(&self, map: SourceMap) -> Result<Bound> {
        let info = SourceInfo {
            filename: map.filename,
            data: map.data.into_bytes(),
            language: map.language,
            definition: None,
        };
        let place = self.graph.borrow_mut().add_source(info);
        if let Some(state) = map.state {
            self.source_states.borrow_mut().push((place as usize, state));
        }
        Ok(Bound::SourceMap(place))
    }

    fn constrain_tree(&self, tree: Option<Edge>, opts: &[ConstraintOpt]) -> Result<()> {
        if let Some(edge) = tree {
            self.constrain(edge, &self.constraints(opts)?);
        }
        Ok(())
    }

    /// What the options say about an op beside its platform.
    fn constrain(&self, edge: Edge, constraints: &Constraints) {
        let mut graph = self.graph.borrow_mut();
        let vertex = graph.vertex_mut(edge.vertex);
        vertex.constraints = constraints.filters.clone().into();
        vertex.metadata.merge(&constraints.metadata);
        vertex.locations = constraints.locations.clone().into();
    }
}
