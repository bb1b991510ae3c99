//! `read`, `read_json`, `files`: what a program takes from the files beside it while it is evaluated.

use super::Args;
use crate::base::glob::PathGlob;
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator};
use crate::lang::eval::json::{self, Extra};
use crate::lang::eval::value::Value;
use crate::lang::eval::{Answer, Request};
use crate::lang::hir::LiteralKind;

impl Evaluator<'_> {
    /// The text of a file.
    pub(super) fn read(&mut self, args: &Args<'_>) -> Eval {
        let path = self.below_root(args, "file")?;
        match self.answer(Request::Read { path }, args)? {
            Answer::Text(text) => {
                self.spend_bytes(text.len(), args.span)?;
                Ok(Value::Str(text))
            }
            other => panic!("a file is answered with {other:?}"),
        }
    }

    /// The value in a JSON file, of the type that is wanted. Fields of objects that the type does not have are left out.
    pub(super) fn read_json(&mut self, args: &Args<'_>) -> Eval {
        let Value::Str(text) = self.read(args)? else { panic!("a file is a text") };
        let file = args.text("file").to_string();
        let parsed: serde_json::Value = match serde_json::from_str(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                return self.error(args.span_of("file"), Cause::BadJson { file, why: error.to_string() });
            }
        };
        match json::given(self.program, args.ty, &parsed, Extra::LeftOut) {
            Ok(given) => self.given(&given, args.span),
            Err(json::Mismatch { path, why }) => {
                let ty = args.ty.to_string();
                self.error(args.span_of("file"), Cause::JsonMismatch { file, ty, path, why })
            }
        }
    }

    /// The paths that match a pattern, relative to the module's folder.
    pub(super) fn files(&mut self, args: &Args<'_>) -> Eval {
        let pattern = args.text("pattern").to_string();
        if let Err(error) = PathGlob::new(&pattern) {
            let (kind, why) = (LiteralKind::Glob, error.to_string());
            return self.error(args.span_of("pattern"), Cause::BadLiteral { kind, text: pattern, why });
        }
        if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
            return self.error(args.span_of("pattern"), Cause::OutsideRoot { path: pattern });
        }
        let dir = self.module_dir(args.span.file);
        let request = Request::Files { dir, pattern, except: self.dest_folders() };
        match self.answer(request, args)? {
            Answer::Paths(paths) => {
                self.spend_values(paths.len(), args.span)?;
                Ok(Value::strs(paths))
            }
            other => panic!("a pattern is answered with {other:?}"),
        }
    }
}
