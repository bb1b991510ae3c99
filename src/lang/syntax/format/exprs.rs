//! Layout of expressions: operators, chains, calls, brackets.

use super::doc::{self, Doc};
use super::items::Pad;
use super::printer::Printer;
use crate::lang::syntax::build::Inner;
use crate::lang::syntax::grammar::{Pair, Rule};

/// An argument, laid out, with what layouts of a call ask about it.
struct Arg {
    doc: Doc,
    /// What stands in front of it: a break, with comments.
    before: Doc,
    named: bool,
    /// For a literal in brackets: what stands before its first break, `env: {`.
    opening: Option<String>,
}

impl Printer<'_> {
    /// A value behind a token on the same line; comments above it push it down.
    pub(super) fn value(&mut self, pair: Pair<'_>) -> Doc {
        if self.has_own_comments() {
            let line = self.break_with(doc::hard());
            let value = self.expr(pair);
            return doc::indent(doc::concat(vec![line, value]));
        }
        doc::concat(vec![doc::text(" "), self.expr(pair)])
    }

    pub(super) fn expr(&mut self, pair: Pair<'_>) -> Doc {
        let parts: Vec<Pair<'_>> = pair.into_inner().collect();
        self.operators(&parts)
    }

    /// Operands with operators between them: broken at those that bind least, then within.
    fn operators(&mut self, parts: &[Pair<'_>]) -> Doc {
        let infixes = || parts.iter().enumerate().filter(|(_, part)| part.as_rule() == Rule::infix);
        let Some(lowest) = infixes().map(|(_, infix)| binding(infix.as_str())).min() else {
            return parts.first().map_or_else(doc::nil, |operand| self.unary(operand.clone()));
        };
        let mut ends: Vec<usize> =
            infixes().filter(|(_, infix)| binding(infix.as_str()) == lowest).map(|(at, _)| at).collect();
        ends.push(parts.len());
        let first = self.operators(&parts[..ends[0]]);
        let mut rest = Vec::new();
        for pair in ends.windows(2) {
            rest.push(self.break_with(doc::line()));
            rest.extend([self.next(), doc::text(" ")]);
            rest.push(self.operators(&parts[pair[0] + 1..pair[1]]));
        }
        doc::group(doc::concat(vec![first, doc::indent(doc::concat(rest))]))
    }

    fn unary(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = Vec::new();
        for part in pair.into_inner() {
            docs.push(if part.as_rule() == Rule::term { self.term(part) } else { self.next() });
        }
        doc::concat(docs)
    }

    /// An atom and what hangs on it. A chain of several calls that does not fit has one on each line.
    fn term(&mut self, pair: Pair<'_>) -> Doc {
        let mut parts = pair.into_inner().peekable();
        let mut head = vec![parts.next().map_or_else(doc::nil, |atom| self.atom(atom))];
        let links: Vec<Pair<'_>> = parts.collect();
        if links.is_empty() {
            return doc::concat(head);
        }
        let is_field = |link: &Pair<'_>| link.as_rule() == Rule::field;
        // A link is a field with the calls and indexes behind it.
        let mut segments: Vec<&[Pair<'_>]> = links.chunk_by(|_, next| !is_field(next)).collect();
        if !is_field(&segments[0][0]) {
            for link in segments.remove(0) {
                head.push(self.link(link));
            }
        }
        // Fields in front of the first method are part of what it is called on, so is the module of a function.
        let n_calls = segments.iter().filter(|segment| 1 < segment.len()).count();
        let commented = segments.iter().any(|segment| self.has_comments_at(segment[0].as_span().start()));
        let breaks = 1 < n_calls || commented;
        let mut at = 0;
        while breaks && !commented && at < segments.len() && head.len() == 1 && segments[at].len() == 1 {
            for link in segments[at] {
                head.push(self.link(link));
            }
            at += 1;
            head = vec![doc::concat(head)];
        }
        let mut tail = Vec::new();
        for segment in &segments[at..] {
            if breaks {
                tail.push(self.break_with(doc::soft()));
            }
            for link in *segment {
                tail.push(self.link(link));
            }
        }
        let head = doc::concat(head);
        let tail = doc::concat(tail);
        if breaks {
            doc::group(doc::concat(vec![head, doc::indent(tail)]))
        } else {
            doc::concat(vec![head, tail])
        }
    }

    fn link(&mut self, pair: &Pair<'_>) -> Doc {
        match pair.as_rule() {
            Rule::call => self.call(pair.clone()),
            Rule::index => {
                let docs = vec![self.next(), self.expr(Inner::of(pair.clone()).part()), self.next()];
                doc::concat(docs)
            }
            _ => doc::concat(vec![self.next(), self.next()]),
        }
    }

    /// Three layouts when it does not fit:
    ///
    /// - values on the line of the name, each named argument on its own;
    /// - everything on that line but what is inside of the last argument of at most two, a literal in brackets;
    /// - each argument on its own line.
    fn call(&mut self, pair: Pair<'_>) -> Doc {
        let pairs: Vec<Pair<'_>> = Inner::of(pair).collect();
        let open = self.next();
        let mut commented = self.has_comments();
        let mut args = Vec::new();
        for (n, pair) in pairs.into_iter().enumerate() {
            commented |= self.has_comments() && !self.is_named(&pair);
            let before = if n == 0 { self.break_with(doc::soft()) } else { self.between(doc::line()) };
            args.push(self.arg(pair, before));
        }
        let trailing_comma = self.after_comma();
        let any_comment = commented || self.has_comments() || args.iter().any(|arg| arg.before.forced);
        let comments = self.before_closing(args.is_empty());
        let close = self.next();
        if args.is_empty() && !comments.forced {
            return doc::concat(vec![open, close]);
        }
        let listed = |args: &[Arg]| {
            let mut docs = Vec::new();
            for (n, arg) in args.iter().enumerate() {
                if 0 < n {
                    docs.push(doc::text(","));
                }
                docs.extend([arg.before.clone(), arg.doc.clone()]);
            }
            docs
        };
        let flat = |args: &[Arg]| {
            let mut docs = Vec::new();
            for (n, arg) in args.iter().enumerate() {
                docs.extend((0 < n).then(|| doc::text(", ")));
                docs.push(arg.doc.clone());
            }
            doc::concat(docs)
        };
        let end = |mut docs: Vec<Doc>| {
            docs.extend((!docs.is_empty()).then(|| doc::if_broken(doc::text(","))));
            docs.push(comments.clone());
            doc::concat(vec![doc::indent(doc::concat(docs)), doc::soft(), close.clone()])
        };
        let n_heads = args.iter().take_while(|arg| !arg.named).count();
        let exploded = end(listed(&args));
        let body = if 0 < n_heads && n_heads < args.len() && !commented {
            let heads = flat(&args[..n_heads]);
            let mut rest = vec![heads.clone(), doc::text(",")];
            rest.extend(listed(&args[n_heads..]));
            let heads_fit = doc::concat(vec![heads.clone(), doc::text(",")]);
            if heads.forced { exploded } else { doc::fit(heads_fit, end(rest), exploded) }
        } else if let Some((last, others)) = args.split_last()
            && let Some(opening) = &last.opening
            && !any_comment
            && !trailing_comma
            && others.len() < 2
            && !others.iter().any(|arg| arg.doc.forced)
        {
            let separator = if others.is_empty() { "" } else { ", " };
            let probe = doc::concat(vec![flat(others), doc::text(format!("{separator}{opening}"))]);
            let hugged = doc::concat(vec![flat(&args), close.clone()]);
            doc::fit(probe, hugged, exploded)
        } else {
            exploded
        };
        let body = if trailing_comma { body.force() } else { body };
        doc::group(doc::concat(vec![open, body]))
    }

    fn is_named(&self, arg: &Pair<'_>) -> bool {
        arg.clone().into_inner().next().is_some_and(|part| part.as_rule() == Rule::name)
    }

    fn arg(&mut self, pair: Pair<'_>, before: Doc) -> Arg {
        let mut inner = Inner::of(pair).peekable();
        let name = inner.next_if(|part| part.as_rule() == Rule::name);
        let value = inner.next();
        let opening = value.as_ref().and_then(opening);
        let Some(value) = value else { return Arg { doc: doc::nil(), before, named: false, opening: None } };
        match name {
            Some(name) => {
                let opening = opening.map(|opening| format!("{}: {opening}", name.as_str()));
                let docs = vec![self.next(), self.next(), self.value(value)];
                Arg { doc: doc::concat(docs), before, named: true, opening }
            }
            None => Arg { doc: self.expr(value), before, named: false, opening },
        }
    }

    fn atom(&mut self, pair: Pair<'_>) -> Doc {
        let Some(pair) = pair.into_inner().next() else { return doc::nil() };
        match pair.as_rule() {
            Rule::list_lit => self.listed(Pad::None, pair.into_inner().collect(), Self::element),
            Rule::record_lit => self.listed(Pad::Space, Inner::of(pair).collect(), Self::entry),
            Rule::list_comp | Rule::map_comp => self.comprehension(pair),
            Rule::block_expr => doc::group(self.block(pair)),
            Rule::paren => {
                let open = self.next();
                let inner = vec![self.break_with(doc::soft()), self.expr(Inner::of(pair).part())];
                let closed = self.closed(inner, doc::soft(), false);
                doc::group(doc::concat(vec![open, closed]))
            }
            Rule::if_expr => self.branches(pair),
            Rule::match_expr => self.matching(pair),
            Rule::on_expr => {
                let mut inner = Inner::of(pair);
                let docs =
                    vec![self.next(), self.value(inner.part()), doc::text(" "), self.block(inner.part())];
                doc::group(doc::concat(docs))
            }
            Rule::fold_expr => self.fold(pair),
            Rule::variant => doc::concat(vec![self.next(), self.next()]),
            // Literals and names.
            _ => self.next(),
        }
    }

    fn element(&mut self, pair: Pair<'_>) -> Doc {
        match pair.as_rule() {
            Rule::spread => {
                let docs = vec![self.next(), self.expr(Inner::of(pair).part())];
                doc::concat(docs)
            }
            _ => self.expr(pair),
        }
    }

    fn entry(&mut self, pair: Pair<'_>) -> Doc {
        let parts: Vec<Pair<'_>> = Inner::of(pair).collect();
        match parts.as_slice() {
            [spread] if spread.as_rule() == Rule::spread => self.element(spread.clone()),
            [key, value] => {
                let key = match key.as_rule() {
                    Rule::computed => {
                        let docs = vec![self.next(), self.expr(Inner::of(key.clone()).part()), self.next()];
                        doc::concat(docs)
                    }
                    _ => self.next(),
                };
                doc::concat(vec![key, self.next(), self.value(value.clone())])
            }
            _ => self.next(),
        }
    }

    fn comprehension(&mut self, pair: Pair<'_>) -> Doc {
        let mut inner = Inner::of(pair);
        let mut docs = vec![self.next()];
        let mut clauses = Vec::new();
        for (n, clause) in Inner::of(inner.part()).enumerate() {
            match clause.as_rule() {
                Rule::for_clause => {
                    if 0 < n {
                        clauses.push(doc::text(","));
                        clauses.push(self.break_with(doc::line()));
                    }
                    clauses.push(self.for_clause(clause));
                }
                _ => {
                    clauses.push(self.break_with(doc::line()));
                    clauses.push(self.next());
                    clauses.push(self.value(Inner::of(clause).part()));
                }
            }
        }
        docs.push(doc::indent(doc::group(doc::concat(clauses))));
        docs.push(self.next());
        let values: Vec<Pair<'_>> = inner.collect();
        if let [key, _] = values.as_slice() {
            docs.push(self.value(key.clone()));
            docs.push(self.next());
        }
        let mut body = vec![self.break_with(doc::line())];
        body.extend(values.last().map(|value| self.expr(value.clone())));
        docs.push(self.closed(body, doc::soft(), false));
        doc::group(doc::concat(docs))
    }

    /// `for k, v in over`
    fn for_clause(&mut self, pair: Pair<'_>) -> Doc {
        let parts: Vec<Pair<'_>> = Inner::of(pair).collect();
        let mut docs = vec![self.next(), doc::text(" "), self.next()];
        if parts.len() == 3 {
            docs.extend([doc::text(", "), self.next()]);
        }
        docs.extend([doc::text(" "), self.next()]);
        docs.extend(parts.last().map(|over| self.value(over.clone())));
        doc::concat(docs)
    }

    /// `{ let … e }`; what starts on a new line stays there.
    pub(super) fn block(&mut self, pair: Pair<'_>) -> Doc {
        let open = self.next();
        let parts: Vec<Pair<'_>> = Inner::of(pair).collect();
        let force = self.on_new_line() || 1 < parts.len();
        let mut body = Vec::new();
        for (n, part) in parts.into_iter().enumerate() {
            body.push(if n == 0 { self.break_with(doc::line()) } else { self.between(doc::hard()) });
            body.push(if part.as_rule() == Rule::let_decl { self.binding(part) } else { self.expr(part) });
        }
        let closed = self.closed(body, doc::line(), force);
        doc::concat(vec![open, closed])
    }

    /// All branches on one line, or none.
    fn branches(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = Vec::new();
        for (n, part) in Inner::of(pair).enumerate() {
            if 0 < n {
                docs.extend([doc::text(" "), self.next(), doc::text(" ")]);
            }
            if part.as_rule() == Rule::branch {
                let mut inner = Inner::of(part);
                docs.extend([self.next(), self.value(inner.part()), doc::text(" ")]);
                docs.push(self.block(inner.part()));
            } else {
                docs.push(self.block(part));
            }
        }
        doc::group(doc::concat(docs))
    }

    fn matching(&mut self, pair: Pair<'_>) -> Doc {
        let mut inner = Inner::of(pair);
        let start = vec![self.next(), self.value(inner.part()), doc::text(" ")];
        let arms = self.listed(Pad::Space, inner.collect(), |printer: &mut Self, arm| {
            let mut inner = Inner::of(arm);
            // The pattern: `.name`, `none`, `some(x)`, `_`.
            inner.part();
            let mut docs = Vec::new();
            while printer.peek() != "=>" {
                docs.push(printer.next());
            }
            docs.extend([doc::text(" "), printer.next(), printer.value(inner.part())]);
            doc::concat(docs)
        });
        doc::concat(start.into_iter().chain([arms]).collect())
    }

    fn fold(&mut self, pair: Pair<'_>) -> Doc {
        let mut parts = Inner::of(pair).skip(1);
        let mut docs = vec![self.next(), doc::text(" "), self.next(), doc::text(" "), self.next()];
        docs.extend(parts.next().map(|init| self.value(init)));
        docs.push(doc::text(" "));
        docs.extend(parts.next().map(|clause| self.for_clause(clause)));
        docs.push(doc::text(" "));
        docs.extend(parts.next().map(|block| self.block(block)));
        doc::group(doc::concat(docs))
    }
}

/// What stands before the first break of a literal in brackets.
fn opening(expr: &Pair<'_>) -> Option<String> {
    let mut pair = expr.clone();
    loop {
        let mut inner = pair.clone().into_inner();
        let first = inner.next()?;
        if inner.next().is_some() {
            return None;
        }
        match first.as_rule() {
            Rule::list_lit | Rule::record_lit | Rule::block_expr => {
                return first.as_str().chars().next().map(String::from);
            }
            Rule::list_comp | Rule::map_comp => return first.as_str().lines().next().map(str::to_owned),
            Rule::string if first.as_str().contains("\"\"\"") => {
                return first.as_str().lines().next().map(str::to_owned);
            }
            Rule::unary | Rule::term | Rule::atom => pair = first,
            _ => return None,
        }
    }
}

/// How strongly an operator binds, as in the tree.
fn binding(symbol: &str) -> u8 {
    match symbol {
        "|>" => 0,
        "||" => 1,
        "&&" => 2,
        "??" => 4,
        "+" | "-" => 5,
        "*" => 6,
        _ => 3,
    }
}
