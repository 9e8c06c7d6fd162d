//! To which group a query goes: Lua rules, in a sandbox, over what a request says of itself.
//!
//! A rule set is compiled and tried on a scratch virtual machine before it is swapped in; each
//! worker thread has a machine of its own, so a decision takes no lock. What goes wrong in a rule
//! sends that query to the default group and is counted; it never fails the query.

mod bytecode;
mod closures;
pub mod engine;
pub mod facts;
pub mod reload;
pub mod rules;
pub mod sandbox;
pub mod verdict;

#[cfg(test)]
mod tests;
