//! The xsem command.
fn main() {}
