//! `test` blocks: each is evaluated on its own, with a graph of its own for the checks that it asserts.

use super::error::{Cause, EvalError, Side};
use super::interp::{Env, Eval, Evaluator, Gather, Stop};
use super::value::Value;
use super::{Inputs, Need};
use crate::base::{SourceMap, Span};
use crate::graph::ir::{Edge, Graph};
use crate::graph::llb::name_requirements;
use crate::lang::hir::{BinaryOp, Expr, ExprKind, Program, Test, TestStmt};

/// The result of a test whose statements have values.
#[derive(Debug, Clone)]
pub enum TestOutcome {
    /// All is known.
    Done(Box<Tested>),
    /// These have to be answered first; each once, in the order they came up.
    Needs(Vec<Need>),
}

/// What a test claims.
#[derive(Debug, Clone)]
pub struct Tested {
    /// What the checks are made of.
    pub graph: Graph,
    /// The asserted checks: they hold if they can be built.
    pub checks: Vec<(Edge, Span)>,
    /// Claims that do not hold, and what could not be evaluated.
    pub errors: Vec<EvalError>,
}

/// Evaluates `test` of the program for the first of the platforms.
///
/// A claim that does not hold does not keep the next ones from being looked at; a `let` without a value does.
pub fn evaluate_test(program: &Program, sources: &SourceMap, inputs: &Inputs, test: &Test) -> TestOutcome {
    crate::lang::on_deep_stack(|| {
        let mut evaluator = Evaluator::new(program, sources, inputs);
        if let Some(platform) = inputs.platforms.first() {
            evaluator.platform = std::sync::Arc::new(platform.clone());
        }
        evaluator.target = format!("test {:?}", test.name);
        let mut tested = Tested { graph: Graph::new(), checks: Vec::new(), errors: Vec::new() };
        if let Err(Stop::Error(error)) = evaluator.test(test, &mut tested) {
            tested.errors.push(error);
        }
        // Claims that wait for an answer are looked at, too, before anything is said.
        if !evaluator.needs.is_empty() {
            return TestOutcome::Needs(evaluator.needs);
        }
        tested.graph = evaluator.graph;
        name_requirements(&mut tested.graph);
        TestOutcome::Done(Box::new(tested))
    })
}

impl Evaluator<'_> {
    fn test(&mut self, test: &Test, tested: &mut Tested) -> Eval<()> {
        let mut env = Env::new(test.locals.len());
        for stmt in &test.stmts {
            match stmt {
                TestStmt::Let(local, init) => match self.expr(init, &mut env) {
                    Ok(value) => env.set(*local, value),
                    Err(Stop::Need) => env.set_pending(*local),
                    Err(error) => return Err(error),
                },
                TestStmt::Assert(claim) => match self.claim(claim, &mut env) {
                    Ok(Some(edge)) => tested.checks.push((edge, claim.span)),
                    Ok(None) | Err(Stop::Need) => {}
                    Err(Stop::Error(error)) => {
                        tested.errors.push(error);
                        self.reset();
                    }
                },
            }
        }
        Ok(())
    }

    /// Evaluates a claim; gives the check it is, if it is one. A comparison that is false says both of its sides.
    fn claim(&mut self, claim: &Expr, env: &mut Env) -> Eval<Option<Edge>> {
        let (value, sides) = match &claim.kind {
            ExprKind::Binary(
                op
                @ (BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge),
                left,
                right,
            ) => {
                let mut gather = Gather::default();
                let values = (gather.take(self.expr(left, env))?, gather.take(self.expr(right, env))?);
                gather.finish()?;
                let (Some(a), Some(b)) = values else { return Err(Stop::Need) };
                let side =
                    |expr: &Expr, value: &Value| Side { span: expr.span, value: self.show_quoted(value) };
                let sides = Some((side(left, &a), side(right, &b)));
                (self.operate(*op, &a, &b, claim)?, sides)
            }
            _ => (self.expr(claim, env)?, None),
        };
        match value {
            Value::Check(edge) => Ok(Some(edge)),
            Value::Bool(true) => Ok(None),
            _ => self.error(claim.span, Cause::AssertFailed { sides }),
        }
    }
}
