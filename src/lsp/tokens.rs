//! Semantic tokens: the lexer says what is a word, the checker what the word means.

use std::collections::HashMap;
use std::path::Path;

use lsp_types::{SemanticToken, SemanticTokenModifier, SemanticTokenType, SemanticTokensLegend};

use super::analysis::{Def, Program};
use super::describe::Declaration;
use super::project::Project;
use crate::lang::syntax::ast::{ExprKind, ItemKind, TextPart};
use crate::lang::syntax::lex::{self, Kind};
use crate::lang::types::{Type, prelude};

/// Types of tokens; a token's number is its index here.
const TYPES: &[SemanticTokenType] = &[
    SemanticTokenType::KEYWORD,
    SemanticTokenType::COMMENT,
    SemanticTokenType::STRING,
    SemanticTokenType::NUMBER,
    SemanticTokenType::OPERATOR,
    SemanticTokenType::NAMESPACE,
    SemanticTokenType::TYPE,
    SemanticTokenType::ENUM,
    SemanticTokenType::ENUM_MEMBER,
    SemanticTokenType::FUNCTION,
    SemanticTokenType::METHOD,
    SemanticTokenType::PROPERTY,
    SemanticTokenType::VARIABLE,
    SemanticTokenType::PARAMETER,
    SemanticTokenType::MACRO,
    SemanticTokenType::REGEXP,
];

/// Modifiers; a token's bit is the index here.
const MODIFIERS: &[SemanticTokenModifier] = &[
    SemanticTokenModifier::DECLARATION,
    SemanticTokenModifier::READONLY,
    SemanticTokenModifier::DEFAULT_LIBRARY,
    SemanticTokenModifier::DOCUMENTATION,
];

const DECLARATION: u32 = 1;
const READONLY: u32 = 1 << 1;
const LIBRARY: u32 = 1 << 2;
const DOCUMENTATION: u32 = 1 << 3;

pub(super) fn legend() -> SemanticTokensLegend {
    SemanticTokensLegend { token_types: TYPES.to_vec(), token_modifiers: MODIFIERS.to_vec() }
}

/// A stretch of one line before it is numbered.
struct Token {
    start: u32,
    end: u32,
    kind: SemanticTokenType,
    modifiers: u32,
}

/// All tokens of a document.
pub(super) fn tokens(project: &mut Project, path: &Path) -> Vec<SemanticToken> {
    let program = project.program_of(path);
    let Some(text) = project.text(path) else { return Vec::new() };
    let source = &text.text;
    let names = meanings(&program, path);
    let commands = command_texts(&program, path);
    let mut tokens = Vec::new();
    for lexeme in lex::lex(source) {
        let token = |kind: SemanticTokenType, modifiers: u32| Token {
            start: lexeme.start,
            end: lexeme.end,
            kind,
            modifiers,
        };
        match lexeme.kind {
            Kind::Keyword => tokens.push(token(SemanticTokenType::KEYWORD, 0)),
            Kind::Constant => tokens.push(token(SemanticTokenType::KEYWORD, READONLY)),
            Kind::Number => tokens.push(token(SemanticTokenType::NUMBER, 0)),
            Kind::Comment => tokens.push(token(SemanticTokenType::COMMENT, 0)),
            Kind::Doc => tokens.push(token(SemanticTokenType::COMMENT, DOCUMENTATION)),
            Kind::Escape => tokens.push(token(SemanticTokenType::REGEXP, 0)),
            Kind::Insert => tokens.push(token(SemanticTokenType::OPERATOR, 0)),
            Kind::Text => {
                let in_command =
                    commands.iter().any(|&(start, end)| start <= lexeme.start && lexeme.end <= end);
                if in_command {
                    shell(source, lexeme.start, lexeme.end, &mut tokens);
                } else {
                    tokens.push(token(SemanticTokenType::STRING, 0));
                }
            }
            Kind::Name => {
                if let Some((kind, modifiers)) = names.get(&lexeme.start) {
                    tokens.push(token(kind.clone(), *modifiers));
                }
            }
            Kind::Open | Kind::Close => {}
            Kind::Sign => {
                if !matches!(source.as_bytes()[lexeme.start as usize], b',' | b':' | b'.') {
                    tokens.push(token(SemanticTokenType::OPERATOR, 0));
                }
            }
        }
    }
    let mut numbered: Vec<SemanticToken> = Vec::with_capacity(tokens.len());
    let mut last = lsp_types::Position::new(0, 0);
    for token in tokens.iter().flat_map(|token| lines(source, token)) {
        let at = text.position(token.start, project.encoding);
        let length = project.encoding.len(&source[token.start as usize..token.end as usize]);
        let delta_line = at.line - last.line;
        let delta_start = if delta_line == 0 { at.character - last.character } else { at.character };
        let token_type = TYPES.iter().position(|it| *it == token.kind).unwrap_or_default() as u32;
        numbered.push(SemanticToken {
            delta_line,
            delta_start,
            length,
            token_type,
            token_modifiers_bitset: token.modifiers,
        });
        last = at;
    }
    numbered
}

/// A token over several lines is one token per line.
fn lines<'t>(source: &'t str, token: &'t Token) -> impl Iterator<Item = Token> + 't {
    let mut at = token.start;
    source[token.start as usize..token.end as usize].split_inclusive('\n').filter_map(move |line| {
        let start = at;
        at += line.len() as u32;
        let end = start + line.trim_end_matches(['\n', '\r']).len() as u32;
        (start < end).then(|| Token { start, end, kind: token.kind.clone(), modifiers: token.modifiers })
    })
}

/// What the names of a document mean, by where they start.
fn meanings(program: &Program, path: &Path) -> HashMap<u32, (SemanticTokenType, u32)> {
    let mut meanings = HashMap::new();
    let Some(module) = program.module_at(path) else { return meanings };
    for name in program.names_of(module.ast.file) {
        let Some((kind, modifiers)) = meaning(program, &name.def) else { continue };
        let declares = if name.declares { DECLARATION } else { 0 };
        meanings.insert(name.span.start, (kind, modifiers | declares));
    }
    meanings
}

fn meaning(program: &Program, def: &Def) -> Option<(SemanticTokenType, u32)> {
    Some(match def {
        Def::Builtin(builtin) => {
            let signature = prelude().signature(*builtin);
            let kind = match (&signature.receiver, &signature.params) {
                (Some(_), Some(_)) => SemanticTokenType::METHOD,
                (Some(_), None) => SemanticTokenType::PROPERTY,
                (None, Some(_)) => SemanticTokenType::FUNCTION,
                (None, None) => SemanticTokenType::VARIABLE,
            };
            (kind, LIBRARY)
        }
        Def::BuiltinParam(..) => (SemanticTokenType::PARAMETER, 0),
        Def::BuiltinField(..) => (SemanticTokenType::PROPERTY, LIBRARY),
        Def::BuiltinVariant(..) => (SemanticTokenType::ENUM_MEMBER, LIBRARY),
        Def::BuiltinType(Type::Enum(_)) => (SemanticTokenType::ENUM, LIBRARY),
        Def::BuiltinType(_) => (SemanticTokenType::TYPE, LIBRARY),
        Def::At(span) => match program.declaration(*span)? {
            Declaration::Param(..) => (SemanticTokenType::PARAMETER, 0),
            Declaration::Field(..) => (SemanticTokenType::PROPERTY, 0),
            Declaration::Variant(..) => (SemanticTokenType::ENUM_MEMBER, 0),
            Declaration::Local(_) => (SemanticTokenType::VARIABLE, READONLY),
            Declaration::Item(item) => match item.kind {
                ItemKind::Import { .. } => (SemanticTokenType::NAMESPACE, 0),
                ItemKind::Param { .. } | ItemKind::Secret { .. } | ItemKind::Ssh { .. } => {
                    (SemanticTokenType::PARAMETER, READONLY)
                }
                ItemKind::Let(_) | ItemKind::Target { .. } => (SemanticTokenType::VARIABLE, READONLY),
                ItemKind::Fn { .. } => (SemanticTokenType::FUNCTION, 0),
                ItemKind::Type { .. } => (SemanticTokenType::TYPE, 0),
                ItemKind::Enum { .. } => (SemanticTokenType::ENUM, 0),
                ItemKind::Test { .. } | ItemKind::Extern(_) | ItemKind::Broken { .. } => return None,
            },
        },
    })
}

/// Where the literals of a document stand that a shell reads.
fn command_texts(program: &Program, path: &Path) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let Some(module) = program.module_at(path) else { return found };
    super::walk::module(&module.ast, &mut |node| {
        if let super::walk::Node::Expr(expr) = node
            && let ExprKind::Text(parts) = &expr.kind
            && parts.iter().any(|part| matches!(part, TextPart::Text(..)))
            && matches!(program.type_at(expr.span), Some(Type::Cmd))
        {
            found.push((expr.span.start, expr.span.end));
        }
    });
    found
}

/// Words with a meaning of their own in a shell.
const SHELL_WORDS: &[&str] = &[
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "set",
    "exit", "cd", "export", "return",
];

/// A piece of a shell command: its variables, operators, comments and first words; the rest is text.
fn shell(source: &str, start: u32, end: u32, tokens: &mut Vec<Token>) {
    let piece = &source[start as usize..end as usize];
    let bytes = piece.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let mut at = 0;
    let mut plain = 0;
    while at < bytes.len() {
        let word_len = |from: usize| bytes[from..].iter().take_while(|byte| is_word(byte)).count();
        let (len, kind) = match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                let close = piece[at..].find('}').map_or(2, |close| close + 1);
                (close, Some(SemanticTokenType::MACRO))
            }
            b'$' if bytes.get(at + 1).is_some_and(is_word) => {
                (1 + word_len(at + 1), Some(SemanticTokenType::MACRO))
            }
            b'&' | b'|' | b';' | b'<' | b'>' => {
                let same =
                    bytes[at..].iter().take_while(|byte| matches!(byte, b'&' | b'|' | b';' | b'<' | b'>'));
                (same.count(), Some(SemanticTokenType::OPERATOR))
            }
            b'#' if at == 0 || bytes[at - 1].is_ascii_whitespace() => {
                let line = piece[at..].find('\n').unwrap_or(piece.len() - at);
                (line, Some(SemanticTokenType::COMMENT))
            }
            byte if is_word(&byte) => {
                let len = word_len(at);
                let alone = at == 0
                    || matches!(bytes[at - 1], b' ' | b'\t' | b'\n' | b'"' | b';' | b'(' | b'&' | b'|');
                let ends =
                    bytes.get(at + len).is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'"' | b';'));
                let known = alone && ends && SHELL_WORDS.contains(&&piece[at..at + len]);
                (len, known.then_some(SemanticTokenType::KEYWORD))
            }
            _ => (piece[at..].chars().next().map_or(1, char::len_utf8), None),
        };
        if let Some(kind) = kind {
            let (from, to) = (start + at as u32, start + (at + len) as u32);
            if plain < at {
                let kind = SemanticTokenType::STRING;
                tokens.push(Token { start: start + plain as u32, end: from, kind, modifiers: 0 });
            }
            tokens.push(Token { start: from, end: to, kind, modifiers: 0 });
            plain = at + len;
        }
        at += len;
    }
    if plain < bytes.len() {
        let kind = SemanticTokenType::STRING;
        tokens.push(Token { start: start + plain as u32, end, kind, modifiers: 0 });
    }
}
