//! Parameters of the call around the cursor.

use std::path::Path;

use lsp_types::{
    Documentation, MarkupContent, MarkupKind, ParameterInformation, ParameterLabel, SignatureHelp,
    SignatureInformation,
};

use super::analysis::{Def, Program};
use super::describe;
use super::mend::{self, Call};
use super::project::Project;
use super::walk;
use crate::base::Span;
use crate::lang::resolve::LoadedModule;
use crate::lang::syntax::ast::{self, ExprKind};
use crate::lang::types::facts::{CallFact, Callee};
use crate::lang::types::prelude;

/// Parameters of the innermost call whose parentheses hold `offset`.
pub(super) fn signature_help(project: &mut Project, path: &Path, offset: u32) -> Option<SignatureHelp> {
    let text = project.text(path)?;
    if let Some(marked) = mend::marked(&text.text, offset, Call::AsWritten) {
        let program = project.program_with(path, &marked.text.into());
        if let Some(help) = program.module_at(path).and_then(|module| help(&program, module, offset)) {
            return Some(help);
        }
    }
    let program = project.program_of(path);
    help(&program, program.module_at(path)?, offset)
}

fn help(program: &Program, module: &LoadedModule, offset: u32) -> Option<SignatureHelp> {
    let mut innermost: Option<&ast::Call> = None;
    walk::module(&module.ast, &mut |node| {
        if let walk::Node::Expr(expr) = node
            && let ExprKind::Call(call) = &expr.kind
            && call.parens.file == module.ast.file
            && call.parens.start < offset
            && offset < call.parens.end
            && innermost.is_none_or(|known| known.parens.start < call.parens.start)
        {
            innermost = Some(call);
        }
    });
    let call = innermost?;
    let fact = program.call_at(call.parens)?;
    let (label, doc, params) = written(program, fact)?;
    let holds = |span: Span| span.start <= offset && offset <= span.end;
    let at = call.args.iter().position(|arg| {
        let start = arg.name.as_ref().map_or(arg.value.span.start, |name| name.span.start);
        holds(Span { start, ..arg.value.span })
    });
    let active = at.and_then(|at| fact.slots.get(at).copied().flatten());
    let markdown =
        |value: String| Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value });
    let parameters = params.into_iter().map(|(label, doc)| ParameterInformation {
        label: ParameterLabel::Simple(label),
        documentation: doc.map(markdown),
    });
    // A number behind the last parameter: none is active.
    let parameters: Vec<ParameterInformation> = parameters.collect();
    let active_parameter = Some(active.unwrap_or(parameters.len()) as u32);
    Some(SignatureHelp {
        signatures: vec![SignatureInformation {
            label,
            documentation: doc.map(markdown),
            parameters: Some(parameters),
            active_parameter,
        }],
        active_signature: Some(0),
        active_parameter,
    })
}

/// A declaration in one line, its doc, and its parameters with theirs.
type Written = (String, Option<String>, Vec<(String, Option<String>)>);

fn written(program: &Program, fact: &CallFact) -> Option<Written> {
    let (name, result, doc, params) = match fact.callee {
        Callee::Builtin(builtin) => {
            let signature = prelude().signature(builtin);
            let receiver = fact.receiver.as_ref().map(|ty| format!("{ty}.")).unwrap_or_default();
            let params = 0..signature.params.as_ref()?.len();
            let params: Vec<_> =
                params.filter_map(|index| describe::builtin_param(signature, index)).collect();
            let doc = signature.doc.as_deref().map(str::to_owned);
            (format!("{receiver}{}", signature.name), signature.result.to_string(), doc, params)
        }
        Callee::Function(function) => {
            let typed = &program.typed.functions[function.index()];
            let params = (0..typed.params.len()).filter_map(|index| {
                let field = program.param_of(function, index)?;
                Some(describe::field(program.sources.file(field.name.span.file), field))
            });
            let doc = describe::describe(program, &Def::At(typed.item.span)).and_then(|it| it.doc);
            (typed.item.name.to_string(), typed.result.to_string(), doc, params.collect())
        }
    };
    let params: Vec<(String, Option<String>)> =
        params.into_iter().map(|param| (param.code, param.doc)).collect();
    let labels: Vec<&str> = params.iter().map(|(label, _)| &**label).collect();
    Some((format!("{name}({}) -> {result}", labels.join(", ")), doc, params))
}
