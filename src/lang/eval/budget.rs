//! Limits that no real program meets: they turn a product of loops into an error instead of a full memory.

use super::error::Budget;

/// What an evaluation has used up.
#[derive(Debug, Default)]
pub(super) struct Spent {
    steps: u64,
    values: u64,
    bytes: u64,
    depth: u64,
}

impl Budget {
    /// How much there is of it.
    pub(super) fn limit(self) -> u64 {
        match self {
            Budget::Steps => 50_000_000,
            Budget::Values => 1_000_000,
            Budget::Bytes => 256 << 20,
            Budget::Depth => 20_000,
            Budget::Ops => 200_000,
        }
    }
}

impl Spent {
    /// One more step inside of the current expression.
    pub(super) fn step(&mut self) -> Result<(), Budget> {
        self.steps += 1;
        if self.steps > Budget::Steps.limit() { Err(Budget::Steps) } else { Ok(()) }
    }

    /// One more expression, inside the current one; [`Spent::leave`] ends it.
    pub(super) fn enter(&mut self) -> Result<(), Budget> {
        self.steps += 1;
        self.depth += 1;
        if self.steps > Budget::Steps.limit() {
            return Err(Budget::Steps);
        }
        if self.depth > Budget::Depth.limit() {
            return Err(Budget::Depth);
        }
        Ok(())
    }

    /// The end of an expression.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// So many elements more.
    pub(super) fn values(&mut self, count: usize) -> Result<(), Budget> {
        self.values = self.values.saturating_add(count as u64);
        if self.values > Budget::Values.limit() { Err(Budget::Values) } else { Ok(()) }
    }

    /// So much text more.
    pub(super) fn bytes(&mut self, count: usize) -> Result<(), Budget> {
        self.bytes = self.bytes.saturating_add(count as u64);
        if self.bytes > Budget::Bytes.limit() { Err(Budget::Bytes) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
