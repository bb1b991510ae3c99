//! Control: blocks, matches, loops, `on`, and lists.

use super::super::error::TypeError;
use super::super::facts::Meaning;
use super::super::hir::{self, Expr, ExprKind, ListItem, LocalId, Pattern};
use super::super::relate::join;
use super::super::ty::Type;
use super::Checker;
use crate::base::Span;
use crate::lang::syntax::ast;

impl<'a> Checker<'a> {
    pub(super) fn block(
        &mut self,
        lets: &'a [ast::LetDecl],
        span: Span,
        value: impl FnOnce(&mut Self) -> Expr,
    ) -> Expr {
        self.in_scope(|checker| {
            let lets = lets.iter().map(|decl| checker.local_let(decl)).collect();
            let value = value(checker);
            let ty = value.ty.clone();
            Expr { kind: ExprKind::Block(lets, Box::new(value)), ty, span }
        })
    }

    // ---- lists

    /// A list whose elements are `element`s.
    pub(super) fn list(&mut self, elements: &'a [ast::Element], element: &Type, span: Span) -> Expr {
        let ty = Type::list(element.clone());
        let items = elements
            .iter()
            .map(|item| match item {
                ast::Element::Item(value) => ListItem::Item(self.check(value, element)),
                ast::Element::Spread(list) => ListItem::Spread(self.check(list, &ty)),
            })
            .collect();
        Expr { kind: ExprKind::List(items), ty, span }
    }

    pub(super) fn infer_list(&mut self, elements: &'a [ast::Element], span: Span) -> Expr {
        let plain: Vec<&ast::Expr> = elements
            .iter()
            .filter_map(|element| match element {
                ast::Element::Item(value) => Some(value),
                ast::Element::Spread(_) => None,
            })
            .collect();
        let has_spread = plain.len() < elements.len();
        let (values, mut common) = self.infer_alike(&plain);
        let mut spreads = Vec::new();
        for element in elements {
            let ast::Element::Spread(list) = element else { continue };
            let list = self.infer(list);
            let joined = match &list.ty {
                Type::List(inner) => join(&common, inner),
                Type::Error => Some(common.clone()),
                _ => None,
            };
            match joined {
                Some(joined) => common = joined,
                None => {
                    let expected = Type::list(common.clone());
                    self.mismatch(expected, list.ty.clone(), list.span);
                }
            }
            spreads.push(list);
        }
        let ty = Type::list(common.clone());
        let (mut values, mut spreads) = (values.into_iter(), spreads.into_iter());
        let items = elements.iter().map(|element| match element {
            ast::Element::Item(_) => {
                let value = values.next().expect("one per plain element");
                ListItem::Item(if has_spread { self.coerce_quietly(value, &common) } else { value })
            }
            ast::Element::Spread(_) => {
                let list = spreads.next().expect("one per spread");
                ListItem::Spread(self.coerce_quietly(list, &ty))
            }
        });
        let items = items.collect();
        Expr { kind: ExprKind::List(items), ty, span }
    }

    /// Converts what is known to fit, or is already reported.
    fn coerce_quietly(&mut self, value: Expr, want: &Type) -> Expr {
        let n_errors = self.errors.len();
        let value = self.coerce(value, want);
        self.errors.truncate(n_errors);
        value
    }

    // ---- loops

    pub(super) fn list_comp(
        &mut self,
        loops: &'a ast::Loops,
        body: &'a ast::Expr,
        element: Option<&Type>,
        span: Span,
    ) -> Expr {
        self.in_scope(|checker| {
            let loops = checker.loops(loops);
            let body = checker.check_or_infer(body, element);
            let ty = Type::list(body.ty.clone());
            Expr { kind: ExprKind::ListComp(Box::new(loops), Box::new(body)), ty, span }
        })
    }

    pub(super) fn map_comp(
        &mut self,
        loops: &'a ast::Loops,
        key: &'a ast::Expr,
        value: &'a ast::Expr,
        wanted: Option<&Type>,
        span: Span,
    ) -> Expr {
        self.in_scope(|checker| {
            let loops = checker.loops(loops);
            let key = checker.check(key, &Type::Str);
            let value = checker.check_or_infer(value, wanted);
            let ty = Type::map(value.ty.clone());
            Expr { kind: ExprKind::MapComp(Box::new(loops), Box::new(key), Box::new(value)), ty, span }
        })
    }

    pub(super) fn check_or_infer(&mut self, expr: &'a ast::Expr, wanted: Option<&Type>) -> Expr {
        match wanted {
            Some(ty) => self.check(expr, ty),
            None => self.infer(expr),
        }
    }

    /// The loops of a comprehension; their variables go into the current scope, a scope of its own for each.
    fn loops(&mut self, loops: &'a ast::Loops) -> hir::Comprehension {
        let clauses = loops.clauses.iter().map(|clause| self.clause(clause)).collect();
        let condition = loops.condition.as_ref().map(|condition| self.check(condition, &Type::Bool));
        hir::Comprehension { clauses, condition }
    }

    fn clause(&mut self, clause: &'a ast::ForClause) -> hir::Clause {
        let over = self.infer(&clause.over);
        let (over, key_type, value_type) = match over.ty.clone() {
            Type::List(element) => (over, Type::Int, (*element).clone()),
            Type::Map(value) => (over, Type::Str, (*value).clone()),
            Type::Record(record)
                if !record.fields.is_empty() && super::super::help::outs_of(&over.ty).is_none() =>
            {
                let first = record.fields[0].ty.clone();
                let joined = record.fields[1..].iter().try_fold(first, |ty, field| join(&ty, &field.ty));
                match joined {
                    Some(value) => (self.coerce(over, &Type::map(value.clone())), Type::Str, value),
                    None => self.not_iterable(&over),
                }
            }
            Type::Error => (over, Type::Error, Type::Error),
            _ => self.not_iterable(&over),
        };
        match &clause.second {
            Some(second) => {
                self.hides(&clause.first);
                self.hides(second);
                let key = self.bind(&clause.first, key_type);
                let value = self.bind(second, value_type);
                hir::Clause { key: Some(key), value, over }
            }
            None => {
                if matches!(over.ty, Type::Map(_)) {
                    self.error(TypeError::MapNeedsTwoNames { at: over.span });
                }
                self.hides(&clause.first);
                hir::Clause { key: None, value: self.bind(&clause.first, value_type), over }
            }
        }
    }

    fn not_iterable(&mut self, over: &Expr) -> (Expr, Type, Type) {
        self.error(TypeError::NotIterable { found: over.ty.clone(), at: over.span });
        (self.broken(over.span), Type::Error, Type::Error)
    }

    pub(super) fn fold(&mut self, fold: &'a ast::Fold, wanted: Option<&Type>, span: Span) -> Expr {
        let init = self.check_or_infer(&fold.init, wanted);
        let mut ty = init.ty.clone();
        let is_empty =
            matches!(&ty, Type::Record(record) if record.name.is_none() && record.fields.is_empty());
        if wanted.is_none() && (is_empty || ty.is_open()) {
            // Nothing could be added to it.
            let what = format!("`{}`", self.sources.file(init.span.file).slice(init.span));
            let example = match &ty {
                Type::Option(_) => "int?",
                _ if is_empty => "{str: int}",
                _ => "[int]",
            };
            let acc = &fold.acc.text;
            let help = format!("say it where the fold is used: `let all: {example} = fold {acc} = …`");
            self.error(TypeError::Untyped { what, help, at: init.span });
            ty = Type::Error;
        }
        self.in_scope(|checker| {
            // The loop does not see the accumulator: it is bound behind it.
            let clause = checker.clause(&fold.clause);
            let acc: LocalId = checker.bind(&fold.acc, ty.clone());
            let because = format!("it starts as {ty}");
            let body = checker.in_scope(|checker| checker.check_because(&fold.body, &ty, init.span, because));
            let fold = hir::Fold { acc, init, clause, body };
            Expr { kind: ExprKind::Fold(Box::new(fold)), ty: ty.clone(), span }
        })
    }

    // ---- match

    pub(super) fn match_expr(
        &mut self,
        scrutinee: &'a ast::Expr,
        arms: &'a [ast::Arm],
        wanted: Option<&Type>,
        span: Span,
    ) -> Expr {
        let cause = self.frame.cause.take();
        let scrutinee = self.infer(scrutinee);
        let found = scrutinee.ty.clone();
        if !matches!(found, Type::Enum(_) | Type::Option(_) | Type::Error) {
            self.error(TypeError::NotMatchable { found: found.clone(), at: scrutinee.span });
        }
        let mut covered = Covered::default();
        let patterns: Vec<Option<ArmPattern>> =
            arms.iter().map(|arm| self.pattern(arm, &found, &mut covered)).collect();
        self.report_missing(&found, &covered, arms, span, scrutinee.span);
        let mut typed: Vec<hir::Arm> = Vec::with_capacity(arms.len());
        let mut common: Option<Type> = wanted.cloned();
        // Without a wanted type the arms find one together; literals that can be several things come last.
        let mut bodies: Vec<Option<(Pattern, Expr)>> = arms.iter().map(|_| None).collect();
        for follow in [false, true] {
            for ((slot, arm), pattern) in bodies.iter_mut().zip(arms).zip(&patterns) {
                if slot.is_some() || (!follow && wanted.is_none() && super::expr::is_flexible(&arm.body)) {
                    continue;
                }
                let guide = match (wanted, &common) {
                    (Some(ty), _) => Some(ty.clone()),
                    (None, Some(ty)) if follow && !matches!(ty, Type::Error | Type::Never) => {
                        Some(ty.clone())
                    }
                    _ => None,
                };
                let (pattern, body) = self.in_scope(|checker| {
                    let pattern = match pattern {
                        Some(ArmPattern::Bind(name, ty)) => Pattern::Some(checker.bind(name, ty.clone())),
                        Some(ArmPattern::Plain(pattern)) => pattern.clone(),
                        None => Pattern::Wildcard,
                    };
                    checker.frame.cause = cause.clone().filter(|_| guide.is_some());
                    (pattern, checker.check_or_infer(&arm.body, guide.as_ref()))
                });
                if wanted.is_none() {
                    common = Some(match common {
                        None => body.ty.clone(),
                        Some(before) => join(&before, &body.ty).unwrap_or(before),
                    });
                }
                *slot = Some((pattern, body));
            }
        }
        let ty = common.unwrap_or(Type::Error);
        for (pattern, body) in bodies.into_iter().flatten() {
            let body = self.coerce(body, &ty);
            typed.push(hir::Arm { pattern, body });
        }
        Expr { kind: ExprKind::Match(Box::new(scrutinee), typed), ty, span }
    }

    fn pattern(&mut self, arm: &'a ast::Arm, found: &Type, covered: &mut Covered) -> Option<ArmPattern<'a>> {
        let at = arm.span;
        self.wanted(at, found);
        let is_full = covered.is_full(found);
        let pattern = match (&arm.pattern, found) {
            (ast::Pattern::Wildcard, _) => {
                covered.all = true;
                ArmPattern::Plain(Pattern::Wildcard)
            }
            (ast::Pattern::Variant(name), Type::Enum(decl)) => {
                let Some(index) = decl.variants.iter().position(|variant| *variant == name.text) else {
                    // What was probably meant counts as covered.
                    covered.variants.extend(self.unknown_variant(name, decl, true, at));
                    return None;
                };
                if covered.variants.contains(&index) && !is_full {
                    self.error(TypeError::Unreachable { at });
                }
                self.means(name.span, || Meaning::Variant(decl.id, index));
                covered.variants.push(index);
                ArmPattern::Plain(Pattern::Variant(index as u32))
            }
            (ast::Pattern::None, Type::Option(_)) => {
                if std::mem::replace(&mut covered.none, true) && !is_full {
                    self.error(TypeError::Unreachable { at });
                }
                ArmPattern::Plain(Pattern::None)
            }
            (ast::Pattern::Some(name), Type::Option(inner)) => {
                if std::mem::replace(&mut covered.some, true) && !is_full {
                    self.error(TypeError::Unreachable { at });
                }
                ArmPattern::Bind(name, (**inner).clone())
            }
            (ast::Pattern::Some(name), _) => {
                if matches!(found, Type::Enum(_)) {
                    self.error(TypeError::WrongPattern { found: found.clone(), at });
                }
                ArmPattern::Bind(name, Type::Error)
            }
            (ast::Pattern::Variant(_) | ast::Pattern::None, _) => {
                if matches!(found, Type::Enum(_) | Type::Option(_)) {
                    self.error(TypeError::WrongPattern { found: found.clone(), at });
                }
                return None;
            }
        };
        if is_full {
            self.error(TypeError::Unreachable { at });
        }
        Some(pattern)
    }

    fn report_missing(&mut self, found: &Type, covered: &Covered, arms: &[ast::Arm], whole: Span, at: Span) {
        let missing: Vec<String> = match found {
            _ if covered.all => return,
            Type::Enum(decl) => {
                let indexed = decl.variants.iter().enumerate();
                let missing = indexed.filter(|(index, _)| !covered.variants.contains(index));
                missing.map(|(_, variant)| format!(".{variant}")).collect()
            }
            Type::Option(_) => {
                let both = [(covered.some, "some(x)"), (covered.none, "none")];
                both.iter().filter(|(is, _)| !is).map(|(_, pattern)| (*pattern).to_owned()).collect()
            }
            _ => return,
        };
        if !missing.is_empty() {
            // What the last arm gives is of the right type, and on one line short enough to be said again.
            let last = arms.last().map(|arm| arm.body.span);
            let body = last.map(|span| self.sources.file(span.file).slice(span));
            let body = body.filter(|text| !text.contains('\n')).unwrap_or("none").to_owned();
            let added: Vec<String> = missing.iter().map(|pattern| format!("{pattern} => {body}")).collect();
            let braces = match last {
                Some(_) => whole,
                None => Span { start: at.end, ..whole },
            };
            let add = self.add_entries(braces, last.map(|span| span.end), &added);
            self.error(TypeError::NotExhaustive { missing, found: found.clone(), add, at });
        }
    }

    // ---- on

    pub(super) fn on(
        &mut self,
        platform: &'a ast::Expr,
        body: &'a ast::Expr,
        wanted: Option<&Type>,
        span: Span,
    ) -> Expr {
        let platforms = match &platform.kind {
            ast::ExprKind::Text(_) => self.check(platform, &Type::Platform),
            ast::ExprKind::List(_) => self.check(platform, &Type::list(Type::Platform)),
            _ => self.infer(platform),
        };
        match &platforms.ty {
            Type::List(element) if matches!(**element, Type::Platform | Type::Never) => {
                let platforms = self.coerce(platforms, &Type::list(Type::Platform));
                let outer = std::mem::replace(&mut self.frame.platform_given, true);
                let body = self.in_scope(|checker| checker.check(body, &Type::Image));
                self.frame.platform_given = outer;
                let kind = ExprKind::OnEach(Box::new(platforms), Box::new(body));
                let index = Expr { kind, ty: Type::Index, span };
                match wanted {
                    Some(ty) => self.coerce(index, ty),
                    None => index,
                }
            }
            _ => {
                let platform = self.coerce(platforms, &Type::Platform);
                let outer = std::mem::replace(&mut self.frame.platform_given, true);
                let body = self.in_scope(|checker| checker.check_or_infer(body, wanted));
                self.frame.platform_given = outer;
                let ty = body.ty.clone();
                Expr { kind: ExprKind::On(Box::new(platform), Box::new(body)), ty, span }
            }
        }
    }
}

/// What arms before have taken.
#[derive(Default)]
struct Covered {
    variants: Vec<usize>,
    none: bool,
    some: bool,
    all: bool,
}

impl Covered {
    fn is_full(&self, found: &Type) -> bool {
        self.all
            || match found {
                Type::Enum(decl) => (0..decl.variants.len()).all(|index| self.variants.contains(&index)),
                Type::Option(_) => self.none && self.some,
                _ => false,
            }
    }
}

/// A pattern before its variable is bound.
enum ArmPattern<'a> {
    Plain(Pattern),
    Bind(&'a ast::Ident, Type),
}
