//! To which group a query goes: Lua rules, in a sandbox, over what a request says of itself.
//!
//! A rule set is compiled and tried on a scratch virtual machine before it is swapped in; each
//! worker thread has a machine of its own, so a decision takes no lock. What goes wrong in a rule
//! is counted, and sends that query to the default group unless the settings say otherwise.

mod answer;
mod bytecode;
pub mod changes;
mod closures;
pub mod engine;
pub mod explain;
pub mod facts;
pub mod modules;
pub mod priority;
pub mod reload;
mod request;
pub mod rules;
pub mod sandbox;
pub mod services;
pub mod standing;
mod states;
pub mod suite;
pub mod texts;
pub mod verdict;

#[cfg(test)]
pub(crate) mod tests;
