//! File actions.

use std::collections::HashMap;
use std::rc::Rc;

use bkl::graph::ir::build::{FileBuilder, chown};
use bkl::graph::ir::{
    Chown, FileActionOp, FileCopy, FileInput, FileMkdir, FileMkfile, FileRm, FileSymlink, State, User,
};
use serde::Deserialize;
use serde_json::Value;

use super::constraint::ConstraintOpt;
use super::{Bound, Interpreter, Result, args};

/// Actions bound to a state.
pub(super) struct Chain {
    base: State,
    actions: Vec<(Action, Source)>,
}

/// What a copy reads; `None` for the other actions.
enum Source {
    None,
    State(Box<State>),
    Chain(Rc<Chain>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStatement {
    on: String,
    actions: Vec<Action>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionsStatement {
    base: String,
    actions: Vec<Action>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Mkdir(Mkdir),
    Mkfile(Mkfile),
    Symlink(Symlink),
    Rm(Rm),
    Copy(Box<Copy>),
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Mkdir {
    path: String,
    mode: String,
    #[serde(default)]
    parents: bool,
    owner: Option<Owner>,
    time: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Mkfile {
    path: String,
    mode: String,
    data: Option<String>,
    data_b64: Option<String>,
    data_repeat: Option<Repeat>,
    owner: Option<Owner>,
    time: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Repeat {
    text: String,
    count: usize,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Symlink {
    old: String,
    new: String,
    owner: Option<Owner>,
    time: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Rm {
    path: String,
    #[serde(default)]
    allow_not_found: bool,
    #[serde(default)]
    allow_wildcard: bool,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Copy {
    from: String,
    src: String,
    dest: String,
    mode: Option<String>,
    mode_str: Option<String>,
    #[serde(default)]
    follow_symlinks: bool,
    #[serde(default)]
    dir_contents_only: bool,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    attempt_unpack: bool,
    #[serde(default)]
    create_dest_path: bool,
    #[serde(default)]
    allow_wildcard: bool,
    #[serde(default)]
    allow_empty_wildcard: bool,
    #[serde(default)]
    always_replace: bool,
    owner: Option<Owner>,
    time: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Owner {
    Text(String),
    Ids(OwnerIds),
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct OwnerIds {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn chown(&self, input: FileInput) -> Chown {
        match self {
            Owner::Text(text) => chown(text, input),
            Owner::Ids(ids) => Chown { user: Some(User::Id(ids.uid)), group: Some(User::Id(ids.gid)) },
        }
    }
}

impl Interpreter<'_> {
    pub(super) fn file(&self, json: &Value) -> Result<State> {
        let FileStatement { on, actions, opts } = args(json)?;
        self.file_on(self.state(&on)?, actions, &opts)
    }

    /// The file modifier: the statement without the state it works on.
    pub(super) fn file_modifier(&self, on: &State, json: &Value) -> Result<State> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Modifier {
            actions: Vec<Action>,
            #[serde(default)]
            opts: Vec<ConstraintOpt>,
        }
        let Modifier { actions, opts } = args(json)?;
        self.file_on(on.clone(), actions, &opts)
    }

    fn file_on(&self, base: State, actions: Vec<Action>, opts: &[ConstraintOpt]) -> Result<State> {
        let chain = self.bind(base, actions)?;
        let mut file = FileBuilder::default();
        push_chain(&mut file, &mut HashMap::new(), &chain)?;
        let edge = self.graph.borrow_mut().file_of(file);
        self.constrain(edge, &self.constraints(opts)?);
        Ok(chain.base.with_tree(Some(edge), None))
    }

    pub(super) fn chain(&self, json: &Value) -> Result<Chain> {
        let ActionsStatement { base, actions } = args(json)?;
        self.bind(self.state(&base)?, actions)
    }

    fn bind(&self, base: State, actions: Vec<Action>) -> Result<Chain> {
        if actions.is_empty() {
            return Err("no actions".to_owned());
        }
        let source = |action: &Action| -> Result<Source> {
            let Action::Copy(copy) = action else { return Ok(Source::None) };
            Ok(match self.bound(&copy.from)? {
                Bound::Chain(chain) => Source::Chain(chain),
                _ => Source::State(Box::new(self.state(&copy.from)?)),
            })
        };
        let actions = actions.into_iter().map(|action| Ok((source(&action)?, action)));
        let actions: Vec<_> = actions.collect::<Result<_>>()?;
        Ok(Chain { base, actions: actions.into_iter().map(|(source, action)| (action, source)).collect() })
    }
}

/// Adds the actions of a chain, each chain once; gives the result of the last.
fn push_chain(
    file: &mut FileBuilder,
    known: &mut HashMap<*const Chain, FileInput>,
    chain: &Chain,
) -> Result<FileInput> {
    if let Some(result) = known.get(&std::ptr::from_ref(chain)) {
        return Ok(*result);
    }
    let base = file.input(chain.base.tree);
    let mut last = base;
    for (action, source) in &chain.actions {
        let (secondary, source_state) = match source {
            Source::None => (FileInput::Scratch, &chain.base),
            Source::State(state) => (file.input(state.tree), &**state),
            Source::Chain(chain) => (push_chain(file, known, chain)?, &chain.base),
        };
        let op = action_op(action, &chain.base, source_state, base)?;
        last = file.push(last, secondary, op);
    }
    known.insert(std::ptr::from_ref(chain), last);
    Ok(last)
}

fn action_op(action: &Action, base: &State, source: &State, input: FileInput) -> Result<FileActionOp> {
    let owner = |owner: &Option<Owner>| owner.as_ref().map(|owner| Box::new(owner.chown(input)));
    Ok(match action {
        Action::Mkdir(mkdir) => FileActionOp::Mkdir(FileMkdir {
            path: base.path(&mkdir.path),
            mode: mode(&mkdir.mode)? & 0o777,
            make_parents: mkdir.parents,
            owner: owner(&mkdir.owner),
            timestamp: timestamp(mkdir.time.as_deref())?,
        }),
        Action::Mkfile(mkfile) => {
            let repeated = mkfile.data_repeat.as_ref().map(|it| it.text.repeat(it.count).into_bytes());
            let text = mkfile.data.clone().map(String::into_bytes);
            let base64 = mkfile.data_b64.as_deref().map(base64);
            FileActionOp::Mkfile(FileMkfile {
                path: base.path(&mkfile.path),
                mode: mode(&mkfile.mode)? & 0o777,
                data: text.or(base64).or(repeated).unwrap_or_default(),
                owner: owner(&mkfile.owner),
                timestamp: timestamp(mkfile.time.as_deref())?,
            })
        }
        Action::Symlink(symlink) => FileActionOp::Symlink(FileSymlink {
            oldpath: symlink.old.clone(),
            newpath: symlink.new.clone(),
            owner: owner(&symlink.owner),
            timestamp: timestamp(symlink.time.as_deref())?,
        }),
        Action::Rm(rm) => FileActionOp::Rm(FileRm {
            path: base.path(&rm.path),
            allow_not_found: rm.allow_not_found,
            allow_wildcard: rm.allow_wildcard,
        }),
        Action::Copy(copy) => FileActionOp::Copy(Box::new(FileCopy {
            src: source.path(&copy.src),
            dest: base.dest_path(&copy.dest),
            owner: owner(&copy.owner),
            mode: match (&copy.mode_str, &copy.mode) {
                (Some(_), _) => 0,
                (None, Some(octal)) => mode(octal)?,
                (None, None) => -1,
            },
            mode_str: copy.mode_str.clone().unwrap_or_default(),
            follow_symlink: copy.follow_symlinks,
            dir_copy_contents: copy.dir_contents_only,
            attempt_unpack: copy.attempt_unpack,
            create_dest_path: copy.create_dest_path,
            allow_wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            timestamp: timestamp(copy.time.as_deref())?,
            include_patterns: copy.include.clone(),
            exclude_patterns: copy.exclude.clone(),
            always_replace_existing: copy.always_replace,
            required_paths: copy.required.clone(),
        })),
    })
}

fn mode(octal: &str) -> Result<i32> {
    i32::from_str_radix(octal, 8).map_err(|error| format!("mode `{octal}`: {error}"))
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0u32, |bits, &digit| bits << 6 | u32::from(digit));
        let bits = bits << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

/// Nanoseconds since the epoch of an RFC 3339 time; -1 when it is not given.
fn timestamp(time: Option<&str>) -> Result<i64> {
    let Some(time) = time else { return Ok(-1) };
    let parse = || {
        let number = |text: &str| text.parse::<i64>().ok();
        let (date, rest) = time.split_once('T')?;
        let mut date = date.split('-').map(number);
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let zone = rest.find(['Z', '+', '-'])?;
        let (clock, zone) = rest.split_at(zone);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut clock = clock.split(':').map(number);
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let offset = match zone.split_at(1) {
            ("Z", _) => 0,
            (sign, zone) => {
                let (hours, minutes) = zone.split_once(':')?;
                let seconds = number(hours)? * 3600 + number(minutes)? * 60;
                if sign == "-" { -seconds } else { seconds }
            }
        };
        // Days of a calendar whose year begins in March, so that the leap day is the last.
        let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
        let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
            + year.div_euclid(400)
            + (153 * month + 2) / 5
            + day
            - 1
            - 719_468;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
        let nanoseconds = number(&format!("{fraction:0<9}"))?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
    };
    parse().ok_or_else(|| format!("`{time}` is no time"))
}
