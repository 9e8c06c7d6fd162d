//! Tells others before and after each phase of a rollout: a command, a webhook, or both. They may
//! start and stop what Warren cannot, such as the Deployment of a coordinator.
//!
//! A hook that fails is tried again with the next look, and the rollout waits for it; only an abort
//! does not wait. It may run more than once for the same phase.

use std::process::Stdio;

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tracing::debug;

use super::{Phase, Rollout};
use crate::config::Rollouts;

/// How much of what a command says is shown.
const SAID: usize = 300;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    Before,
    After,
}

/// What a hook is told, as JSON.
#[derive(Serialize)]
struct Event<'a> {
    rollout: u64,
    group: &'a str,
    to: &'a str,
    from: Vec<&'a str>,
    phase: Phase,
    when: When,
    text: &'a str,
}

/// Runs the hooks of the settings for the phase of a rollout.
pub(super) async fn run(
    settings: &Rollouts,
    (id, rollout): (u64, &Rollout),
    when: When,
) -> Result<(), String> {
    let event = Event {
        rollout: id,
        group: rollout.group.as_str(),
        to: rollout.to.as_str(),
        from: rollout.from.iter().map(crate::ids::ClusterName::as_str).collect(),
        phase: rollout.phase,
        when,
        text: &rollout.told,
    };
    let event = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    if !settings.command.is_empty() {
        let limit = settings.hook_timeout;
        let ran = tokio::time::timeout(limit, command(&settings.command, &event)).await;
        ran.unwrap_or_else(|_| Err(format!("no end within {limit:?}")))
            .map_err(|why| format!("rollouts.command: {why}"))?;
    }
    if let Some(url) = settings.webhook.clone() {
        let limit = settings.hook_timeout;
        let called = tokio::task::spawn_blocking(move || call(&url, &event, limit)).await;
        called
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(|why| format!("rollouts.webhook: {why}"))?;
    }
    Ok(())
}

/// Runs a command with the event on its standard input.
async fn command(words: &[String], event: &str) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("start `{program}`: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read what it is told is no failure.
        let told = input.write_all(event.as_bytes()).await;
        debug!(?told, "a hook was told");
    }
    let ended = child.wait_with_output().await.map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let said: String = said.trim().lines().last().unwrap_or_default().chars().take(SAID).collect();
    Err(format!("{}: {said}", ended.status))
}

/// Posts the event. Blocks.
fn call(url: &str, event: &str, limit: std::time::Duration) -> Result<(), String> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let request = agent.post(url).header("Content-Type", "application/json");
    let answer = request.send(event).map_err(|error| error.to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("answered {}", answer.status())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_command_is_told_and_its_failure_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("told").display().to_string();
        let script = "cat > \"$1\"";
        let told = command(&words(&["sh", "-c", script, "hook", &file]), "{\"a\":1}").await;
        assert_eq!(told, Ok(()));
        assert_eq!(std::fs::read_to_string(&file).expect("it was told"), "{\"a\":1}");
        let failed = command(&words(&["sh", "-c", "echo no >&2; exit 3"]), "").await;
        assert_eq!(failed, Err("exit status: 3: no".to_owned()));
        let missing = command(&words(&["/nowhere/hook"]), "").await;
        assert!(missing.is_err_and(|why| why.starts_with("start `/nowhere/hook`")));
    }
}
