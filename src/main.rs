//! bkl
fn main() {}
