//! `warren route`: where a query would go, and why. Asks a running Warren; runs nothing.

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::explanation::{Asked, Explanation};
use super::operators::Operators;
use super::{Failure, Shell};

const EXAMPLES: &str = "\
Examples:
  warren route -H 'X-Trino-Source: Apache Superset'
  warren route -H 'X-Trino-Source: trino-python-client' --user alice --query 'SELECT 1'
  warren route -H 'X-Trino-Source: zeppelin-7' --json | jq -r .cluster

Without a running Warren: `warren rules explain`.
";

/// Tell to which group and cluster a query would go, and why. No query is run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Route {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    operators: Operators,
}

impl Route {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let body = json!(self.asked.question());
        let answer = self.operators.client(shell)?.post("/api/v1/explain", &body)?;
        let explanation: Explanation = super::clusters::read(answer.clone())?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
        } else {
            write!(shell.out, "{}", explanation.in_words(true))?;
        }
        Ok(if explanation.cluster.is_some() { Exit::Fine } else { Exit::Refused })
    }
}
