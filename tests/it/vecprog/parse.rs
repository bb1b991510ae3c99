//! The lines of a program.

use std::collections::HashMap;

use serde_json::Value;

use super::Result;

/// One line: `NAME := OP {…}` or `OP {…}`.
pub(super) struct Statement {
    pub(super) name: Option<String>,
    pub(super) op: String,
    pub(super) json: Value,
}

/// The program in the fenced block `vecprog` of a case's text.
pub(super) fn program(case: &str) -> Result<Vec<Statement>> {
    let block = case.split_once("```vecprog\n").and_then(|(_, rest)| rest.split_once("\n```"));
    let (block, _) = block.ok_or("the case has no program")?;
    let lines = block.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(statement).collect()
}

fn statement(line: &str) -> Result<Statement> {
    let brace = line.find('{').ok_or_else(|| format!("`{line}` has no argument"))?;
    let (head, json) = line.split_at(brace);
    let (name, op) = match head.split_once(":=") {
        Some((name, op)) => (Some(name.trim().to_owned()), op),
        None => (None, head),
    };
    let json = serde_json::from_str(json).map_err(|error| format!("`{line}`: {error}"))?;
    Ok(Statement { name, op: op.trim().to_owned(), json })
}

/// The statement that binds each name.
pub(super) fn names(program: &[Statement]) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for (idx, statement) in program.iter().enumerate() {
        names.extend(statement.name.clone().map(|name| (name, idx)));
        if statement.op == "passthrough" {
            let outputs = statement.json["outputs"].as_array().into_iter().flatten();
            names.extend(outputs.filter_map(Value::as_str).map(|name| (name.to_owned(), idx)));
        }
    }
    names
}
