//! The signatures of the prelude: `stdlib/prelude.bkl`, read and checked once per process.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::builtin::Builtin;
use super::check;
use super::hir::{EnumDecl, EnumId, Expr, FnParam, RecordDecl, RecordId};
use super::ty::{EnumType, FieldType, RecordType, Type};

/// Everything `stdlib/prelude.bkl` declares.
#[derive(Debug, Default)]
pub struct Prelude {
    /// One per [`Builtin`], in the order of [`Builtin::ALL`].
    pub signatures: Vec<Signature>,
    /// The first records of every program.
    pub records: Vec<RecordDecl>,
    /// The first enums of every program.
    pub enums: Vec<EnumDecl>,
    /// Types by name.
    pub(super) types: BTreeMap<Arc<str>, Type>,
    /// Index into `signatures` by receiver and name; free names have an empty receiver.
    pub(super) by_name: BTreeMap<(&'static str, Arc<str>), usize>,
}

/// How something of the prelude is used.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Which.
    pub builtin: Builtin,
    /// Type of the receiver of a method or property: `Tree`, `[T]`, …
    pub receiver: Option<Type>,
    /// Name without the receiver.
    pub name: Arc<str>,
    /// A function or method has parameters, a constant or property has `None`. Defaults use no locals, but perhaps
    /// `target_platform` or `scratch`.
    pub params: Option<Vec<FnParam>>,
    /// Type of the result, or of the constant or property.
    pub result: Type,
    /// Its `///` lines.
    pub doc: Option<Arc<str>>,
}

/// The prelude of this version of bkl.
pub fn prelude() -> &'static Prelude {
    static PRELUDE: LazyLock<Prelude> = LazyLock::new(check::prelude);
    &PRELUDE
}

impl Prelude {
    /// The signature of `builtin`.
    pub fn signature(&self, builtin: Builtin) -> &Signature {
        &self.signatures[builtin as usize]
    }

    /// The default of the parameter `name` of `builtin`, if it has one.
    pub fn default_of(&self, builtin: Builtin, name: &str) -> Option<&Expr> {
        let params = self.signature(builtin).params.as_ref()?;
        params.iter().find(|param| &*param.name == name)?.default.as_ref()
    }

    /// A function or constant that is used without a receiver.
    pub fn free(&self, name: &str) -> Option<&Signature> {
        self.by_name.get(&("", Arc::from(name))).map(|&index| &self.signatures[index])
    }

    /// The method or property `name` of values of type `ty`.
    pub fn member(&self, ty: &Type, name: &str) -> Option<&Signature> {
        let name: Arc<str> = Arc::from(name);
        let mut found = heads(ty).iter().filter_map(|head| self.by_name.get(&(*head, name.clone())));
        found.next().map(|&index| &self.signatures[index])
    }

    /// All methods and properties of values of type `ty`.
    pub fn members(&self, ty: &Type) -> impl Iterator<Item = &Signature> {
        let of = heads(ty);
        self.signatures.iter().filter(move |it| it.receiver.as_ref().is_some_and(|it| of.contains(&head(it))))
    }

    /// A record or enum of the prelude.
    pub fn type_named(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    /// Names `signatures`, `records` and `enums`, which are complete.
    pub(super) fn index(&mut self) {
        for (index, signature) in self.signatures.iter().enumerate() {
            let receiver = signature.receiver.as_ref().map_or("", head);
            self.by_name.insert((receiver, signature.name.clone()), index);
        }
        for (index, decl) in self.enums.iter().enumerate() {
            let id = EnumId(index as u32);
            let (name, variants) = (decl.name.clone(), decl.variants.clone());
            self.types.insert(decl.name.clone(), Type::Enum(Arc::new(EnumType { id, name, variants })));
        }
        for (index, decl) in self.records.iter().enumerate() {
            let Some(name) = &decl.name else { continue };
            let fields = decl.fields.iter().map(|field| FieldType {
                name: field.name.clone(),
                ty: field.ty.clone(),
                has_default: field.default.is_some(),
            });
            let (fields, decl) = (fields.collect(), Some(RecordId(index as u32)));
            let ty = Type::Record(Arc::new(RecordType::new(Some(name.clone()), decl, fields)));
            self.types.insert(name.clone(), ty);
        }
    }
}

/// The receiver of a signature, as in [`Builtin::key`].
pub(super) fn head(receiver: &Type) -> &'static str {
    match receiver {
        Type::Tree => "tree",
        Type::Image => "image",
        Type::Index => "index",
        Type::List(_) => "[T]",
        Type::Map(_) => "{str: T}",
        Type::Str => "str",
        Type::Path => "path",
        Type::Platform => "platform",
        Type::Secret => "secret",
        Type::Ssh => "ssh",
        _ => "",
    }
}

/// The receivers whose members a value of type `ty` has, its own first.
fn heads(ty: &Type) -> &'static [&'static str] {
    match ty {
        Type::Fs => &["tree"],
        Type::Image => &["image", "tree"],
        Type::Index => &["index"],
        Type::List(_) => &["[T]"],
        Type::Map(_) => &["{str: T}"],
        Type::Str => &["str"],
        Type::Path => &["path"],
        Type::Platform => &["platform"],
        Type::Secret => &["secret"],
        Type::Ssh => &["ssh"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
