//! What the clients know: every command with what was said to it.
//!
//! Kept in memory for the checks, and in a file for whoever has to find out what went wrong: one
//! JSON object on each line, in the order of events, `invoke` before the answer to it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::kill::api::{Answer, Kind};

/// A command that was sent.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) body: Value,
}

/// A command and what its client knows of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) command: Command,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done; the id of what it made.
    Acknowledged(String),
    /// Not done.
    Refused,
    /// Done or not.
    Unknown,
}

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<File>,
}

impl Journal {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// To be called before the command is sent.
    pub(super) fn invoke(&self, command: &Command) -> anyhow::Result<()> {
        self.write(&json!({
            "event": "invoke",
            "kind": command.kind.name(),
            "key": command.key,
            "body": command.body,
        }))
    }

    /// To be called with the answer; returns what it means for the command.
    pub(super) fn answered(&self, command: &Command, answer: &Answer) -> anyhow::Result<Outcome> {
        let key = &command.key;
        match answer {
            Answer::Acknowledged(data) => {
                let id = command
                    .kind
                    .id(data)
                    .with_context(|| format!("the answer to the {} {key} has no id: {data}", command.kind.name()))?;
                self.write(&json!({ "event": "ok", "key": key, "id": id }))?;
                Ok(Outcome::Acknowledged(id.to_owned()))
            }
            Answer::Refused(reason) => {
                self.write(&json!({ "event": "refused", "key": key, "reason": reason }))?;
                Ok(Outcome::Refused)
            }
            Answer::Unknown(reason) => {
                self.write(&json!({ "event": "unknown", "key": key, "reason": reason }))?;
                Ok(Outcome::Unknown)
            }
        }
    }

    /// Any other event.
    pub(super) fn note(&self, event: &str) -> anyhow::Result<()> {
        self.write(&json!({ "event": event }))
    }

    fn write(&self, line: &Value) -> anyhow::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}").context("cannot write the journal")
    }
}
