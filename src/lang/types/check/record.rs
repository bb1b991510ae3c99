//! What stands between braces: records and maps; fields and indexes of them.

use std::sync::Arc;

use super::super::error::TypeError;
use super::super::facts::Meaning;
use super::super::hir::{Coercion, Expr, ExprKind, Literal, LiteralKind, MapItem, Part, RecordItem};
use super::super::relate::{coercion, join};

use super::super::ty::{FieldType, RecordType, Type};
use super::fix::sample;
use super::{Checker, Named, Node, Symbol, near};
use crate::base::Span;
use crate::lang::syntax::ast;

impl<'a> Checker<'a> {
    /// A record literal where the record type `want` is wanted.
    pub(super) fn record(
        &mut self,
        entries: &'a [ast::Entry],
        want: &Type,
        record: &RecordType,
        span: Span,
    ) -> Expr {
        let mut given: Vec<(Arc<str>, Span)> = Vec::new();
        let mut items = Vec::with_capacity(entries.len());
        let (mut complete, mut spread_failed) = (true, false);
        for entry in entries {
            match entry {
                ast::Entry::Field(name, value) => {
                    complete &= self.record_field(name, value, want, record, &mut given, &mut items);
                }
                ast::Entry::Keyed(key, value) => match plain_key(key) {
                    Some(name) => {
                        complete &= self.record_field(&name, value, want, record, &mut given, &mut items);
                    }
                    None => {
                        let found = Type::map(Type::Never);
                        self.mismatch(want.clone(), found, span);
                        return self.broken(span);
                    }
                },
                ast::Entry::Spread(value) => {
                    let value = self.infer(value);
                    match self.spread_fields(value, record, want) {
                        Some((item, names)) => {
                            given.extend(names.into_iter().map(|name| (name, span)));
                            items.push(item);
                        }
                        None => spread_failed = true,
                    }
                }
            }
        }
        let is_given = |field: &FieldType| given.iter().any(|(name, _)| *name == field.name);
        let absent: Vec<&FieldType> = record.fields.iter().filter(|field| !is_given(field)).collect();
        let missing: Vec<String> =
            absent.iter().filter(|field| !field.has_default).map(|field| field.name.to_string()).collect();
        let has_defaults = absent.len() > missing.len();
        complete &= !spread_failed;
        if !missing.is_empty() && !spread_failed {
            let wanted = absent.iter().filter(|field| !field.has_default);
            let added: Vec<String> =
                wanted.map(|field| format!("{}: {}", field.name, sample(&field.ty))).collect();
            let last = entries.last().map(|entry| match entry {
                ast::Entry::Field(_, value) | ast::Entry::Keyed(_, value) | ast::Entry::Spread(value) => {
                    value.span.end
                }
            });
            let add = self.add_entries(span, last, &added);
            self.error(TypeError::MissingField { names: missing, add, at: span });
            complete = false;
        }
        if let (true, Some(decl)) = (has_defaults, record.decl) {
            self.used(Node::Record(decl), span);
        }
        if complete {
            Expr { kind: ExprKind::Record(items), ty: want.clone(), span }
        } else {
            self.broken(span)
        }
    }

    /// Notes which field of a declared record a name is.
    fn means_field(&mut self, name: &ast::Ident, record: &RecordType) {
        let index = record.fields.iter().position(|field| field.name == name.text);
        if let (Some(decl), Some(index)) = (record.decl, index) {
            self.means(name.span, || Meaning::Field(decl, index));
        }
    }

    /// One field of a literal; `false`: it is wrong, and that is reported.
    fn record_field(
        &mut self,
        name: &ast::Ident,
        value: &'a ast::Expr,
        want: &Type,
        record: &RecordType,
        given: &mut Vec<(Arc<str>, Span)>,
        items: &mut Vec<RecordItem>,
    ) -> bool {
        let Some(field) = record.field(&name.text) else {
            let near = near(&name.text, record.fields.iter().map(|field| &*field.name));
            let meant = near.as_deref().and_then(|near| record.field(near)).map(|field| field.ty.clone());
            let (record, text) = (want.clone(), name.text.to_string());
            self.error(TypeError::UnknownField { record, name: text, near, at: name.span });
            self.check(value, &meant.unwrap_or(Type::Error));
            return false;
        };
        self.means_field(name, record);
        if let Some(&(_, first)) =
            given.iter().find(|(known, first)| *known == name.text && name.span != *first)
        {
            let is_field = first.end - first.start == name.text.len() as u32;
            if is_field {
                self.error(TypeError::GivenTwice { name: name.text.to_string(), at: name.span, first });
            }
        }
        given.push((name.text.clone(), name.span));
        if let Some(decl) = record.decl.filter(|decl| self.prelude.records.len() <= decl.index()) {
            let declared = self.program.records[decl.index()].fields.iter().find(|it| it.name == name.text);
            self.frame.cause = declared.map(|it| (it.span, format!("declared as {}", it.ty)));
        }
        let value = self.check(value, &field.ty);
        let sound = !matches!(value.ty, Type::Error);
        items.push(RecordItem::Field(name.text.clone(), value));
        sound
    }

    /// `...value` in a literal of `record`: its fields must be fields of it.
    fn spread_fields(
        &mut self,
        value: Expr,
        record: &RecordType,
        want: &Type,
    ) -> Option<(RecordItem, Vec<Arc<str>>)> {
        let Type::Record(spread) = value.ty.clone() else {
            if !value.ty.has_error() {
                let (expected, found, at) = (want.clone(), value.ty.clone(), value.span);
                self.mismatch(expected, found, at);
            }
            return None;
        };
        let mut steps: Vec<(Arc<str>, Option<Coercion>)> = Vec::new();
        let mut fields = Vec::new();
        for field in &spread.fields {
            let Some(target) = record.field(&field.name) else {
                let name = field.name.to_string();
                self.error(TypeError::UnknownField {
                    record: want.clone(),
                    name,
                    near: None,
                    at: value.span,
                });
                return None;
            };
            let Some(step) = coercion(&field.ty, &target.ty) else {
                let (expected, found, at) = (target.ty.clone(), field.ty.clone(), value.span);
                self.mismatch(expected, found, at);
                return None;
            };
            steps.push((field.name.clone(), step));
            fields.push((field.name.clone(), target.ty.clone()));
        }
        let names = fields.iter().map(|(name, _)| name.clone()).collect();
        let needed = steps.iter().any(|(_, step)| step.is_some());
        let value = if needed {
            let span = value.span;
            let kind = ExprKind::Coerce(Coercion::Fields(steps), Box::new(value));
            Expr { kind, ty: Type::record(fields), span }
        } else {
            value
        };
        Some((RecordItem::Spread(value), names))
    }

    /// A literal between braces where a map of `value`s is wanted.
    pub(super) fn map(&mut self, entries: &'a [ast::Entry], value: &Type, span: Span) -> Expr {
        let ty = Type::map(value.clone());
        let mut seen: Vec<(Arc<str>, Span)> = Vec::new();
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            items.push(match entry {
                ast::Entry::Field(name, item) => {
                    self.seen_key(&mut seen, name.text.clone(), name.span);
                    MapItem::Entry(text_key(name), self.check(item, value))
                }
                ast::Entry::Keyed(key, item) => {
                    if let Some(name) = plain_key(key) {
                        self.seen_key(&mut seen, name.text, name.span);
                    }
                    let key = self.check(key, &Type::Str);
                    MapItem::Entry(key, self.check(item, value))
                }
                ast::Entry::Spread(map) => MapItem::Spread(self.check(map, &ty)),
            });
        }
        Expr { kind: ExprKind::Map(items), ty, span }
    }

    fn seen_key(&mut self, seen: &mut Vec<(Arc<str>, Span)>, name: Arc<str>, at: Span) {
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
            let first = *first;
            self.error(TypeError::GivenTwice { name: name.to_string(), at, first });
        }
        seen.push((name, at));
    }

    /// A literal between braces by itself: a record when all its keys are names, else a map.
    pub(super) fn infer_record(&mut self, entries: &'a [ast::Entry], span: Span) -> Expr {
        let mut is_map = entries.iter().any(|entry| matches!(entry, ast::Entry::Keyed(..)));
        let mut spreads: Vec<Expr> = Vec::new();
        for entry in entries {
            if let ast::Entry::Spread(value) = entry {
                let value = self.infer(value);
                is_map |= matches!(value.ty, Type::Map(_));
                if !matches!(value.ty, Type::Map(_) | Type::Record(_) | Type::Error) {
                    let (expected, found) = (Type::map(Type::Never), value.ty.clone());
                    self.mismatch(expected, found, value.span);
                    return self.broken(span);
                }
                spreads.push(value);
            }
        }
        if is_map {
            self.infer_map(entries, spreads, span)
        } else {
            self.infer_fields(entries, spreads, span)
        }
    }

    fn infer_fields(&mut self, entries: &'a [ast::Entry], spreads: Vec<Expr>, span: Span) -> Expr {
        let mut spreads = spreads.into_iter();
        let mut fields: Vec<(Arc<str>, Type)> = Vec::new();
        let mut named: Vec<(Arc<str>, Span)> = Vec::new();
        let mut items = Vec::with_capacity(entries.len());
        let mut sound = true;
        let mut add = |name: &Arc<str>, ty: &Type| match fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = ty.clone(),
            None => fields.push((name.clone(), ty.clone())),
        };
        for entry in entries {
            match entry {
                ast::Entry::Field(name, value) => {
                    self.seen_key(&mut named, name.text.clone(), name.span);
                    let value = self.infer(value);
                    sound &= !matches!(value.ty, Type::Error);
                    add(&name.text, &value.ty);
                    items.push(RecordItem::Field(name.text.clone(), value));
                }
                ast::Entry::Spread(_) => {
                    let value = spreads.next().expect("one per spread");
                    match &value.ty {
                        Type::Record(record) => {
                            record.fields.iter().for_each(|field| add(&field.name, &field.ty));
                        }
                        _ => sound = false,
                    }
                    items.push(RecordItem::Spread(value));
                }
                ast::Entry::Keyed(..) => unreachable!("keys make it a map"),
            }
        }
        let ty = self.of_bounded_size(Type::record(fields), span);
        if sound && ty != Type::Error {
            Expr { kind: ExprKind::Record(items), ty, span }
        } else {
            Expr { ty, ..self.broken(span) }
        }
    }

    fn infer_map(&mut self, entries: &'a [ast::Entry], spreads: Vec<Expr>, span: Span) -> Expr {
        let plain: Vec<&ast::Expr> = entries
            .iter()
            .filter_map(|entry| match entry {
                ast::Entry::Field(_, value) | ast::Entry::Keyed(_, value) => Some(value),
                ast::Entry::Spread(_) => None,
            })
            .collect();
        let (values, mut common) = self.infer_alike(&plain);
        for spread in &spreads {
            let inner = match &spread.ty {
                Type::Map(inner) => Some((**inner).clone()),
                Type::Record(record) => {
                    let mut types = record.fields.iter().map(|field| field.ty.clone());
                    types.try_fold(Type::Never, |ty, field| join(&ty, &field))
                }
                _ => Some(Type::Error),
            };
            match inner.and_then(|inner| join(&common, &inner)) {
                Some(joined) => common = joined,
                None => {
                    let (expected, found) = (Type::map(common.clone()), spread.ty.clone());
                    self.mismatch(expected, found, spread.span);
                    return self.broken(span);
                }
            }
        }
        let ty = Type::map(common.clone());
        let (mut values, mut spreads) = (values.into_iter(), spreads.into_iter());
        let mut seen = Vec::new();
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = match entry {
                ast::Entry::Spread(_) => {
                    let spread = spreads.next().expect("one per spread");
                    items.push(MapItem::Spread(self.coerce(spread, &ty)));
                    continue;
                }
                ast::Entry::Field(name, _) => {
                    self.seen_key(&mut seen, name.text.clone(), name.span);
                    text_key(name)
                }
                ast::Entry::Keyed(key, _) => {
                    if let Some(name) = plain_key(key) {
                        self.seen_key(&mut seen, name.text, name.span);
                    }
                    self.check(key, &Type::Str)
                }
            };
            let value = values.next().expect("one per plain entry");
            let value = self.coerce(value, &common);
            items.push(MapItem::Entry(key, value));
        }
        Expr { kind: ExprKind::Map(items), ty, span }
    }

    // ---- parts

    /// `base.name` that is not called: an item of a module, a field, a property.
    pub(super) fn field(&mut self, base: &'a ast::Expr, name: &'a ast::Ident, span: Span) -> Expr {
        if let Some(import) = self.import_named(base) {
            let Some(module) = import else { return self.broken(span) };
            return match self.item_of_module(module, base, name) {
                Some(symbol) => self.symbol(symbol, &name.text, span),
                None => self.broken(span),
            };
        }
        let base = self.infer(base);
        if let Type::Record(record) = &base.ty {
            if let Some(field) = record.field(&name.text) {
                self.means_field(name, record);
                let ty = field.ty.clone();
                return Expr { kind: ExprKind::Field(Box::new(base), name.text.clone()), ty, span };
            }
            let near = near(&name.text, record.fields.iter().map(|field| &*field.name));
            let meant = near.as_deref().and_then(|near| record.field(near)).map(|field| field.ty.clone());
            let (record, text) = (base.ty.clone(), name.text.to_string());
            self.error(TypeError::UnknownField { record, name: text, near, at: name.span });
            // Goes on with what was probably meant, so that the next mistake is seen, too.
            return Expr { ty: meant.unwrap_or(Type::Error), ..self.broken(span) };
        }
        self.property(base, name, span)
    }

    /// The module that `expr` names; `Some(None)`: it is one that could not be loaded.
    pub(super) fn import_named(&mut self, expr: &ast::Expr) -> Option<Option<super::ModuleId>> {
        let ast::ExprKind::Name(name) = &expr.kind else { return None };
        if self.local(name).is_some() {
            return None;
        }
        let Named { what: Symbol::Import(module), span: declared, .. } = *self.scope().values.get(name)?
        else {
            return None;
        };
        self.mention(declared);
        if let Some(module) = module {
            self.means(expr.span, || Meaning::Import(module, declared));
        }
        Some(module)
    }

    /// The item `name` of `module`, if it is there and visible.
    pub(super) fn item_of_module(
        &mut self,
        module: super::ModuleId,
        base: &ast::Expr,
        name: &ast::Ident,
    ) -> Option<Symbol> {
        let ast::ExprKind::Name(module_name) = &base.kind else { return None };
        let values = &self.scopes[module.index()].values;
        let (module, text, at) = (module_name.to_string(), name.text.to_string(), name.span);
        match values.get(&name.text) {
            Some(named) if named.public || matches!(named.what, Symbol::Broken) => {
                let (symbol, declared) = (named.what, named.span);
                self.mention(declared);
                self.means_symbol(at, symbol);
                Some(symbol)
            }
            Some(named) => {
                let declared = named.span;
                self.means(at, || Meaning::Declared(declared));
                self.error(TypeError::Private { module, name: text, at, declared });
                None
            }
            None => {
                let public = values.iter().filter(|(_, named)| named.public).map(|(name, _)| &**name);
                let near = near(&name.text, public);
                self.error(TypeError::NotInModule { module, name: text, near, at });
                None
            }
        }
    }

    pub(super) fn index(&mut self, base: &'a ast::Expr, index: &'a ast::Expr, span: Span) -> Expr {
        let base = self.infer(base);
        let (want, ty) = match &base.ty {
            Type::List(element) => (Type::Int, (**element).clone()),
            Type::Map(value) => (Type::Str, (**value).clone()),
            Type::Error => (Type::Error, Type::Error),
            found => {
                let found = found.clone();

                self.error(TypeError::NotIndexable { found, at: base.span });
                (Type::Error, Type::Error)
            }
        };
        let index = self.check(index, &want);
        Expr { kind: ExprKind::Index(Box::new(base), Box::new(index)), ty, span }
    }
}

/// The name that a key in quotes is.
fn plain_key(key: &ast::Expr) -> Option<ast::Ident> {
    let ast::ExprKind::Text(parts) = &key.kind else { return None };
    match parts.as_slice() {
        [] => Some(ast::Ident { text: Arc::from(""), span: key.span }),
        [ast::TextPart::Text(text, _)] => Some(ast::Ident { text: text.clone(), span: key.span }),
        _ => None,
    }
}

/// A name as the key of a map.
fn text_key(name: &ast::Ident) -> Expr {
    let literal = Literal { kind: LiteralKind::Str, parts: vec![Part::Text(name.text.clone())] };
    Expr { kind: ExprKind::Literal(literal), ty: Type::Str, span: name.span }
}
