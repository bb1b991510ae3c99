//! The signatures of the prelude.

use std::sync::Arc;

use super::builtin::Builtin;
use super::hir::{EnumDecl, FnParam, RecordDecl};
use super::ty::Type;

/// Everything `stdlib/prelude.bkl` declares, checked once per process.
#[derive(Debug)]
pub struct Prelude {
    /// One per [`Builtin`], in the order of [`Builtin::ALL`].
    pub signatures: Vec<Signature>,
    /// The first records of every program.
    pub records: Vec<RecordDecl>,
    /// The first enums of every program.
    pub enums: Vec<EnumDecl>,
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
    /// A function or method has parameters, a constant or property has `None`.
    pub params: Option<Vec<FnParam>>,
    /// Type of the result, or of the constant or property.
    pub result: Type,
    /// Its `///` lines.
    pub doc: Option<Arc<str>>,
}

impl Prelude {
    /// The signature of `builtin`.
    pub fn signature(&self, builtin: Builtin) -> &Signature {
        &self.signatures[builtin as usize]
    }

    /// The default of the parameter `name` of `builtin`, if it has one: it uses no locals, but perhaps
    /// `target_platform` or `scratch`.
    pub fn default(&self, builtin: Builtin, name: &str) -> Option<&super::hir::Expr> {
        let params = self.signature(builtin).params.as_ref()?;
        params.iter().find(|param| &*param.name == name)?.default.as_ref()
    }
}
