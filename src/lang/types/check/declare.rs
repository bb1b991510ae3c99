//! First pass: every item gets its id and name, every written type is resolved.

use std::sync::Arc;

use super::super::error::{Guess, TypeError};
use super::super::facts::Meaning;
use super::super::hir::{
    self, FunctionId, LetId, ModuleId, Origin, ParamId, RecordId, SecretId, SshId, TargetId,
};
use super::super::ty::{EnumType, FieldType, RecordType, Type};
use super::{Alias, AliasState, Checker, Lazy, LazyState, Named, Node, Scope, Symbol, TypeSymbol, near};
use crate::base::Span;
use crate::lang::syntax::PRELUDE_NAME;
use crate::lang::syntax::ast::{self, ItemKind, TypeKind};

impl<'a> Checker<'a> {
    /// Declares all items of all modules; afterwards every signature is known.
    pub(super) fn declare(&mut self) {
        let loaded = self.loaded;
        for (index, module) in loaded.modules.iter().enumerate() {
            let id = ModuleId(index as u32);
            self.program.modules.push(hir::Module {
                file: module.ast.file,
                path: module.path.clone(),
                dir: module.dir.clone(),
                origin: module.origin,
                doc: module.ast.doc.clone(),
            });
            self.scopes.push(Scope::default());
            self.frame.module = Some(id);
            let mut imports = module.imports.iter();
            for item in &module.ast.items {
                let import = match item.kind {
                    ItemKind::Import { .. } => imports.next().copied().flatten(),
                    _ => None,
                };
                self.declare_item(id, item, import);
            }
        }
        for alias in 0..self.aliases.len() {
            self.alias(alias);
        }
        for (module, item, node) in self.bodies.clone() {
            self.frame.module = Some(module);
            self.declare_signature(item, node);
        }
    }

    fn declare_item(&mut self, module: ModuleId, item: &'a ast::Item, import: Option<ModuleId>) {
        let symbol = match &item.kind {
            ItemKind::Import { .. } => Symbol::Import(import),
            ItemKind::Param { name, .. } => {
                let id = ParamId(self.program.params.len() as u32);
                self.only_at_home(name, "param");
                self.program.params.push(hir::Param {
                    item: described(item, name),
                    module,
                    ty: Type::Error,
                    default: None,
                    wheres: Vec::new(),
                });
                self.bodies.push((module, item, Some(Node::Param(id))));
                Symbol::Param(id)
            }
            ItemKind::Secret { name, id } => {
                self.only_at_home(name, "secret");
                let number = SecretId(self.program.secrets.len() as u32);
                let id = id.as_ref().unwrap_or(name).text.clone();
                self.program.secrets.push(hir::Secret { item: described(item, name), module, id });
                Symbol::Secret(number)
            }
            ItemKind::Ssh { name, id } => {
                self.only_at_home(name, "ssh");
                let number = SshId(self.program.ssh.len() as u32);
                let id = id.as_ref().unwrap_or(name).text.clone();
                self.program.ssh.push(hir::Ssh { item: described(item, name), module, id });
                Symbol::Ssh(number)
            }
            ItemKind::Let(_) => {
                let id = LetId(self.lets.len() as u32);
                self.lets.push(Lazy { module, item, state: LazyState::Unchecked });
                Symbol::Let(id)
            }
            ItemKind::Target { .. } => {
                let id = TargetId(self.targets.len() as u32);
                self.targets.push(Lazy { module, item, state: LazyState::Unchecked });
                Symbol::Target(id)
            }
            ItemKind::Fn { name, .. } => {
                let id = FunctionId(self.program.functions.len() as u32);
                let nothing = hir::Expr { kind: hir::ExprKind::None, ty: Type::Error, span: name.span };
                self.program.functions.push(hir::Function {
                    item: described(item, name),
                    module,
                    params: Vec::new(),
                    result: Type::Error,
                    body: hir::Body { locals: Vec::new(), expr: nothing },
                });
                self.bodies.push((module, item, Some(Node::Fn(id))));
                Symbol::Fn(id)
            }
            ItemKind::Type { name, ty } => {
                let alias = Alias { module, name, ty, state: AliasState::Unresolved };
                self.aliases.push(alias);
                return self.name_type(name, TypeSymbol::Alias(self.aliases.len() - 1), item.public);
            }
            ItemKind::Enum { name, variants } => return self.declare_enum(name, variants, item.public),
            ItemKind::Test { .. } => return self.bodies.push((module, item, None)),
            ItemKind::Extern(_) => return,
            ItemKind::Broken { name: None } => return,
            ItemKind::Broken { name: Some(name) } => {
                let named = Named { what: TypeSymbol::Broken, span: name.span, public: true };
                let types = &mut self.scopes[module.index()].types;
                types.entry(name.text.clone()).or_insert(named);
                Symbol::Broken
            }
        };
        let Some(name) = item.kind.name() else { return };
        let values = &mut self.scopes[module.index()].values;
        match values.get(&name.text) {
            Some(first) if !matches!(first.what, Symbol::Broken) && !matches!(symbol, Symbol::Broken) => {
                let first = first.span;
                self.error(TypeError::Duplicate { name: name.text.to_string(), at: name.span, first });
            }
            _ => {
                let public = item.public && !matches!(symbol, Symbol::Import(_));
                values.insert(name.text.clone(), Named { what: symbol, span: name.span, public });
            }
        }
    }

    fn declare_enum(&mut self, name: &ast::Ident, variants: &[ast::Ident], public: bool) {
        let id = self.next_enum();
        for (i, variant) in variants.iter().enumerate() {
            if let Some(first) = variants[..i].iter().find(|it| it.text == variant.text) {
                let (at, first) = (variant.span, first.span);
                self.error(TypeError::Duplicate { name: format!(".{}", variant.text), at, first });
            }
        }
        let variants: Vec<Arc<str>> = variants.iter().map(|variant| variant.text.clone()).collect();
        let decl = hir::EnumDecl { name: name.text.clone(), variants: variants.clone(), span: name.span };
        self.program.enums.push(decl);
        let ty = Arc::new(EnumType { id, name: name.text.clone(), variants });
        self.name_type(name, TypeSymbol::Enum(ty), public);
    }

    fn name_type(&mut self, name: &ast::Ident, what: TypeSymbol, public: bool) {
        let module = self.module();
        if Type::builtin(&name.text).is_some() {
            self.error(TypeError::BuiltinTypeName { name: name.text.to_string(), at: name.span });
            return;
        }
        let types = &mut self.scopes[module.index()].types;
        match types.get(&name.text) {
            Some(first) if !matches!(first.what, TypeSymbol::Broken) => {
                let first = first.span;
                self.error(TypeError::Duplicate { name: name.text.to_string(), at: name.span, first });
            }
            _ => drop(types.insert(name.text.clone(), Named { what, span: name.span, public })),
        }
    }

    /// Modules from elsewhere ask for nothing on the importer's command line.
    fn only_at_home(&mut self, name: &ast::Ident, what: &'static str) {
        if self.origin() != Origin::Root {
            self.error(TypeError::RemoteLocal {
                name: what.to_owned(),
                reads: "asks the importer's command line",
                help: Some("take it as an argument of a function".to_owned()),
                at: name.span,
            });
        }
    }

    fn declare_signature(&mut self, item: &'a ast::Item, node: Option<Node>) {
        match (&item.kind, node) {
            (ItemKind::Param { ty, .. }, Some(Node::Param(id))) => {
                let resolved = self.resolve_type(ty);
                if !is_param_type(&resolved) {
                    self.error(TypeError::ParamType { found: resolved.clone(), at: ty.span });
                }
                self.program.params[id.index()].ty = resolved;
            }
            (ItemKind::Fn { params, result, .. }, Some(Node::Fn(id))) => {
                let params: Vec<hir::FnParam> = params.iter().map(|param| self.fn_param(param)).collect();
                let result = self.resolve_type(result);
                let function = &mut self.program.functions[id.index()];
                function.params = params;
                function.result = result;
            }
            _ => {}
        }
    }

    /// A parameter without its default, but with a mark that there is one: an expression without meaning.
    pub(super) fn fn_param(&mut self, param: &'a ast::Field) -> hir::FnParam {
        let ty = self.resolve_type(&param.ty);
        let default = param.default.as_ref().map(|default| hir::Expr {
            kind: hir::ExprKind::None,
            ty: Type::Error,
            span: default.span,
        });
        hir::FnParam {
            name: param.name.text.clone(),
            span: param.name.span,
            ty,
            doc: param.doc.clone(),
            default,
        }
    }

    // ---- types

    /// The type of `type` item number `index`.
    fn alias(&mut self, index: usize) -> Type {
        let Alias { module, name, ty, ref state } = self.aliases[index];
        match state {
            AliasState::Done(ty) => return ty.clone(),
            AliasState::InProgress => {
                // The use that closes the circle is reported by whoever asked.
                return Type::Error;
            }
            AliasState::Unresolved => {}
        }
        self.aliases[index].state = AliasState::InProgress;
        let outer = self.frame.module.replace(module);
        let resolved = match &ty.kind {
            TypeKind::Record(fields) => self.record_type(ty, fields, Some(name.text.clone())),
            _ => self.resolve_type(ty),
        };
        self.frame.module = outer;
        self.aliases[index].state = AliasState::Done(resolved.clone());
        resolved
    }

    /// The type that is written.
    pub(super) fn resolve_type(&mut self, ty: &'a ast::TypeExpr) -> Type {
        match &ty.kind {
            TypeKind::List(element) => Type::list(self.resolve_type(element)),
            TypeKind::Map(value) => Type::map(self.resolve_type(value)),
            TypeKind::Option(inner) => Type::option(self.resolve_type(inner)),
            TypeKind::Record(fields) => self.record_type(ty, fields, None),
            TypeKind::Name(name) => self.type_named(name),
            TypeKind::Qualified(module, name) => self.type_of_module(module, name),
        }
    }

    fn type_named(&mut self, name: &ast::Ident) -> Type {
        if let Some(ty) = Type::builtin(&name.text) {
            self.means(name.span, || Meaning::BuiltinType(ty.clone()));
            return ty;
        }
        if let Some(named) = self.scope().types.get(&name.text) {
            let (what, declared) = (named.what.clone(), named.span);
            self.mention(declared);
            return self.type_symbol(&what, name);
        }
        let path = &self.loaded.modules[self.module().index()].path;
        if &**path == PRELUDE_NAME {
            match &*name.text {
                "Self" => return Type::SelfType,
                "tree" => return Type::Tree,
                "T" => return Type::Var,
                "outs" => return Type::Outs,
                _ => {}
            }
        }
        if let Some(ty) = self.prelude.type_named(&name.text) {
            self.means(name.span, || Meaning::BuiltinType(ty.clone()));
            return ty.clone();
        }
        let candidates = self.scope().types.keys().map(|name| &**name);
        let candidates = candidates.chain(Type::BUILTIN_NAMES.iter().copied()).collect();
        let help = self.type_help(&name.text, candidates);
        self.error(TypeError::UnknownType { name: name.text.to_string(), help, at: name.span });
        Type::Error
    }

    fn type_of_module(&mut self, module: &ast::Ident, name: &ast::Ident) -> Type {
        let named = self.scope().values.get(&module.text);
        let declared = named.map_or(module.span, |named| named.span);
        let id = match named.map(|named| named.what) {
            Some(Symbol::Import(Some(id))) => {
                self.mention(declared);
                self.means(module.span, || Meaning::Import(id, declared));
                id
            }
            Some(Symbol::Import(None) | Symbol::Broken) => return Type::Error,
            _ => {
                let help = near(&module.text, self.imports()).map(Guess::instead);
                self.error(TypeError::UnknownName { name: module.text.to_string(), help, at: module.span });
                return Type::Error;
            }
        };
        let types = &self.scopes[id.index()].types;
        match types.get(&name.text) {
            Some(Named { public: false, span: declared, what }) if !matches!(what, TypeSymbol::Broken) => {
                let (declared, at) = (*declared, name.span);
                let (module, name) = (module.text.to_string(), name.text.to_string());
                self.error(TypeError::Private { module, name, at, declared });
                Type::Error
            }
            Some(named) => {
                let what = named.what.clone();
                self.type_symbol(&what, name)
            }
            None => {
                let near =
                    near(&name.text, types.iter().filter(|(_, it)| it.public).map(|(name, _)| &**name));
                let (module, at) = (module.text.to_string(), name.span);
                self.error(TypeError::NotInModule { module, name: name.text.to_string(), near, at });
                Type::Error
            }
        }
    }

    fn type_symbol(&mut self, symbol: &TypeSymbol, used: &ast::Ident) -> Type {
        let declared = match symbol {
            TypeSymbol::Alias(index) => Some(self.aliases[*index].name.span),
            TypeSymbol::Enum(decl) => Some(self.program.enums[decl.id.index()].span),
            TypeSymbol::Broken => None,
        };
        if let Some(declared) = declared {
            self.means(used.span, || Meaning::Declared(declared));
        }
        match symbol {
            TypeSymbol::Enum(decl) => Type::Enum(decl.clone()),
            TypeSymbol::Broken => Type::Error,
            TypeSymbol::Alias(index) => {
                if matches!(self.aliases[*index].state, AliasState::InProgress) {
                    let name = self.aliases[*index].name.text.to_string();
                    self.error(TypeError::RecursiveType { name, at: used.span });
                    return Type::Error;
                }
                self.alias(*index)
            }
        }
    }

    fn imports(&self) -> impl Iterator<Item = &str> {
        let values = self.scope().values.iter();
        values.filter(|(_, it)| matches!(it.what, Symbol::Import(_))).map(|(name, _)| &**name)
    }

    fn record_type(&mut self, ty: &ast::TypeExpr, fields: &'a [ast::Field], name: Option<Arc<str>>) -> Type {
        let mut types: Vec<FieldType> = Vec::with_capacity(fields.len());
        let mut decls = Vec::with_capacity(fields.len());
        for (i, field) in fields.iter().enumerate() {
            let name = &field.name;
            if let Some(first) = fields[..i].iter().find(|it| it.name.text == name.text) {
                let (at, first) = (name.span, first.name.span);
                self.error(TypeError::Duplicate { name: name.text.to_string(), at, first });
                continue;
            }
            let ty = self.resolve_type(&field.ty);
            let has_default = field.default.is_some();
            types.push(FieldType { name: name.text.clone(), ty: ty.clone(), has_default });
            let (name, doc, span) = (name.text.clone(), field.doc.clone(), name.span);
            decls.push(hir::FieldDecl { name, ty, doc, default: None, span });
        }
        let id = RecordId(self.program.records.len() as u32);
        self.program.records.push(hir::RecordDecl { name: name.clone(), fields: decls, span: ty.span });
        if fields.iter().any(|field| field.default.is_some()) {
            self.record_defaults.push((id, self.module(), fields));
        }
        self.of_bounded_size(Type::Record(Arc::new(RecordType::new(name, Some(id), types))), ty.span)
    }

    /// The type, or the error that it is made of too many others.
    pub(super) fn of_bounded_size(&mut self, ty: Type, at: Span) -> Type {
        if !ty.is_too_large() {
            return ty;
        }
        self.error(TypeError::TooLarge { at });
        Type::Error
    }
}

/// Name, doc and visibility of an item.
pub(super) fn described(item: &ast::Item, name: &ast::Ident) -> hir::Item {
    hir::Item { name: name.text.clone(), span: name.span, doc: item.doc.clone(), public: item.public }
}

/// Whether the command line can give a value of this type.
fn is_param_type(ty: &Type) -> bool {
    match ty {
        Type::Str
        | Type::Int
        | Type::Bool
        | Type::Path
        | Type::Glob
        | Type::Ref
        | Type::Url
        | Type::Port
        | Type::Platform
        | Type::Digest
        | Type::Mode
        | Type::Size
        | Type::Duration
        | Type::Signal
        | Type::Enum(_)
        | Type::Error => true,
        Type::List(inner) | Type::Map(inner) | Type::Option(inner) => is_param_type(inner),
        Type::Record(record) => record.fields.iter().all(|field| is_param_type(&field.ty)),
        Type::Cmd
        | Type::Argv
        | Type::Fs
        | Type::Image
        | Type::Index
        | Type::Check
        | Type::Mount
        | Type::Out
        | Type::Outs
        | Type::Secret
        | Type::Ssh
        | Type::SelfType
        | Type::Tree
        | Type::Var
        | Type::Never => false,
    }
}
