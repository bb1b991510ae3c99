//! Methods and properties: found by the type of what stands in front of the dot.

use super::super::error::TypeError;
use super::super::facts::Meaning;
use super::super::help::outs_of;
use super::super::hir::{self, Expr, ExprKind};
use super::super::signatures::Signature;
use super::super::ty::Type;
use super::guess::{method_meant, with_argument};
use super::{Checker, Symbol, near};
use crate::base::Span;
use crate::lang::syntax::ast;

/// The method that a name that is none was probably meant to be.
enum Meant<'a> {
    /// By a slip of the finger.
    Typo(&'a Signature),
    /// By a word of another language, with that language's arguments.
    Word(&'a Signature),
}

impl<'a> Checker<'a> {
    /// `base.name(…)`
    pub(super) fn method(
        &mut self,
        base: &'a ast::Expr,
        name: &'a ast::Ident,
        call: &'a ast::Call,
        span: Span,
    ) -> Expr {
        let receiver = self.infer(base);
        if receiver.ty.has_error() && !matches!(receiver.ty, Type::Record(_) | Type::List(_) | Type::Map(_)) {
            return self.call_of_nothing(call, span);
        }
        let signature = match self.prelude.member(&receiver.ty, &name.text) {
            Some(signature) => signature,
            None => match self.unknown_method(&receiver.ty, name) {
                // Goes on with what was probably meant: one typo must not hide the next mistake.
                Some(Meant::Typo(meant)) => meant,
                Some(Meant::Word(meant)) => {
                    let ty = match &meant.result {
                        Type::SelfType => receiver.ty.clone(),
                        result if result.is_scalar() || matches!(result, Type::Image | Type::Fs) => {
                            result.clone()
                        }
                        _ => Type::Error,
                    };
                    let nothing = self.call_of_nothing(call, span);
                    return Expr { ty, ..nothing };
                }
                None if receiver.ty == Type::Image && with_argument(&name.text).is_some() => {
                    let nothing = self.call_of_nothing(call, span);
                    return Expr { ty: Type::Image, ..nothing };
                }
                None => return self.call_of_nothing(call, span),
            },
        };
        if signature.name == name.text {
            self.means(name.span, || Meaning::Builtin(signature.builtin));
        }
        if signature.params.is_none() {
            let (name, at) = (name.text.to_string(), name.span);
            self.error(TypeError::NotCalled { name, what: "a property", at });
            return self.call_of_nothing(call, span);
        }
        self.call_builtin(signature, Some(receiver), call, name.span, span, None)
    }

    /// Reports the method; gives the one that was probably meant.
    fn unknown_method(&mut self, receiver: &Type, name: &ast::Ident) -> Option<Meant<'a>> {
        if let Type::Record(record) = receiver
            && outs_of(receiver).is_none()
            && record.field(&name.text).is_some()
        {
            let (name, at) = (name.text.to_string(), name.span);
            self.error(TypeError::NotCalled { name, what: "a field", at });
            return None;
        }
        let members: Vec<&Signature> =
            self.prelude.members(receiver).filter(|it| it.params.is_some()).collect();
        let of_image = matches!(receiver, Type::Image | Type::Fs);
        let with = with_argument(&name.text).filter(|_| of_image);
        // What an image has is not a slip for what a tree has.
        let of_images = *receiver == Type::Fs && self.prelude.member(&Type::Image, &name.text).is_some();
        let function = self.scope().values.get(&name.text).is_some_and(|it| matches!(it.what, Symbol::Fn(_)));
        let typo = near(&name.text, members.iter().map(|it| &*it.name))
            .filter(|_| with.is_none() && !of_images && !function);
        let synonym = || {
            let meant = method_meant(&name.text).filter(|_| with.is_none() && !function)?;
            members.iter().find(|it| *it.name == *meant).map(|_| meant.to_owned())
        };
        let near = typo.clone().or_else(synonym);
        let help = match (&near, receiver) {
            _ if with.is_some() => Some(format!("write `.with({})`", with.unwrap_or_default())),
            _ if function => Some(format!("a function of yours is piped: write `x |> {}(…)`", name.text)),
            (Some(near), _) => Some(format!("did you mean `.{near}`?")),
            (None, Type::Record(_)) => outs_of(receiver).map(|trees| {
                format!("this command has `outs`, so it gives a record; pick one of its trees first: {trees}")
            }),
            (None, Type::Option(_)) => Some("it may be none; give it a default first: `(x ?? …)`".to_owned()),
            (None, Type::Check) => {
                Some("a check has no result; what follows it stands behind `.require([check])`".to_owned())
            }
            (None, Type::List(_))
                if matches!(&*name.text, "map" | "filter" | "each" | "flatMap" | "forEach") =>
            {
                Some("write `[for x in xs if condition: f(x)]`".to_owned())
            }
            (None, Type::List(_))
                if matches!(&*name.text, "push" | "append" | "add" | "concat" | "extend") =>
            {
                Some("a list does not change: write `xs + [x]`".to_owned())
            }
            (None, Type::List(_)) if matches!(&*name.text, "reduce" | "fold" | "sum") => {
                Some("write `fold total = 0 for x in xs { total + x }`".to_owned())
            }
            (None, Type::Fs) if of_images => {
                Some("images have it; `.image()` makes an image of a tree".to_owned())
            }
            (None, Type::Index) if self.prelude.member(&Type::Image, &name.text).is_some() => {
                Some("images have it: call it inside of `on … { }`".to_owned())
            }
            (None, ty) if ty.is_scalar() && self.prelude.member(&Type::Str, &name.text).is_some() => {
                Some("text has it: `\"#{…}\"` makes text of it".to_owned())
            }
            (None, _) => {
                let members = self.prelude.members(receiver).filter(|it| it.params.is_some());
                let names: Vec<String> = members.map(|it| format!("`.{}`", it.name)).collect();
                (1..=6).contains(&names.len()).then(|| format!("it has {}", names.join(", ")))
            }
        };
        let meant = near.as_deref().and_then(|near| self.prelude.member(receiver, near));
        let meant = meant.map(|it| if typo.is_some() { Meant::Typo(it) } else { Meant::Word(it) });
        let (receiver, name, at) = (receiver.clone(), name.text.to_string(), name.span);
        self.error(TypeError::UnknownMethod { receiver, name, near, help, at });
        meant
    }

    /// `base.name` of something that is no record.
    pub(super) fn property(&mut self, base: Expr, name: &ast::Ident, span: Span) -> Expr {
        if base.ty.has_error() {
            return self.broken(span);
        }
        let at = name.span;
        let member = self.prelude.member(&base.ty, &name.text);
        if let Some(signature) = member {
            self.means(at, || Meaning::Builtin(signature.builtin));
        }
        match member {
            Some(Signature { params: Some(_), .. }) => {
                self.error(TypeError::NotCalled { name: name.text.to_string(), what: "a method", at });
                self.broken(span)
            }
            Some(signature) => {
                let (builtin, ty) = (signature.builtin, signature.result.clone());
                let call = hir::BuiltinCall { builtin, args: vec![Some(base)], name_span: at };
                Expr { kind: ExprKind::Builtin(call), ty, span }
            }
            None => {
                let near = near(&name.text, self.prelude.members(&base.ty).map(|it| &*it.name));
                let help = match (&near, &base.ty) {
                    (Some(near), _) => Some(format!("did you mean `.{near}`?")),
                    (None, Type::Option(_)) => {
                        Some("it may be none; give it a default first: `(x ?? …)`".to_owned())
                    }
                    (None, Type::Index) if self.prelude.member(&Type::Image, &name.text).is_some() => {
                        Some(format!("each of its images has one: write `.images[0].{}`", name.text))
                    }
                    (None, Type::Fs) if self.prelude.member(&Type::Image, &name.text).is_some() => {
                        Some("images have it; `.image()` makes an image of a tree".to_owned())
                    }
                    (None, Type::Map(_)) => {
                        Some(format!("values of a map are read with `[\"{}\"]`", name.text))
                    }
                    (None, _) => None,
                };
                let (receiver, name) = (base.ty.clone(), name.text.to_string());
                self.error(TypeError::UnknownProperty { receiver, name, near, help, at });
                self.broken(span)
            }
        }
    }
}
