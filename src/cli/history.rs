//! `agent history` and `agent undo`.

use std::path::Path;

use anyhow::bail;
use serde_json::Value;

use super::client::{self, Client};
use super::kubeconfig;
use super::status::Format;
use crate::agent::history::{self, Change, History};

/// How many characters of a value are printed.
const WIDTH: usize = 40;
/// How often an undo is computed anew because the object was changed meanwhile.
const ATTEMPTS: usize = 5;

/// Where the object is.
#[derive(clap::Args)]
pub struct Home {
    /// The object's namespace, if its kind lives in one
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// Prints an object's history.
pub fn show(folder: &Path, object: &str, home: &Home, format: Format) -> anyhow::Result<()> {
    let history = history::read(folder, &history::target(object, &home.namespace)?)?;
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&history)?),
        Format::Text => print!("{}", table(&history)),
    }
    Ok(())
}

/// Puts a change back.
pub fn undo(folder: &Path, object: &str, home: &Home, change: &str, force: bool) -> anyhow::Result<()> {
    let key = history::target(object, &home.namespace)?;
    let (client, path) = (Client::of(&kubeconfig::read(folder)?)?, history::path(&key));
    client::wait(async {
        for _ in 0..ATTEMPTS {
            let shown = client.get(&path).await?;
            let wanted = history::undone(folder, &key, &shown, change, force)?;
            if client.put(&path, &wanted).await? {
                println!("change {change} of {key} is undone");
                return Ok(());
            }
        }
        bail!("{key} is being changed by others all the time: try again")
    })
}

fn table(history: &History) -> String {
    let mut rows = vec![["CHANGE", "WHEN", "WHO", "NODE", "FIELD", "OLD", "NEW"].map(str::to_owned)];
    if history.cut {
        let none = || "<none>".to_owned();
        rows.push([none(), none(), none(), none(), "(earlier changes are not kept)".into(), none(), none()]);
    }
    rows.extend(history.changes.iter().flat_map(lines));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("   ").trim_end());
        out.push('\n');
    }
    out
}

fn lines(change: &Change) -> Vec<[String; 7]> {
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    let head = [change.change.clone(), or_none(change.time.as_deref().unwrap_or_default())];
    let who = [or_none(&change.user), or_none(&change.node)];
    let line = |field: &str, old: String, new: String| {
        let [change, when] = head.clone();
        let [user, node] = who.clone();
        [change, when, user, node, field.to_owned(), old, new]
    };
    if change.created {
        return vec![line("(created)", "<none>".into(), format!("{} fields", change.fields.len()))];
    }
    change.fields.iter().map(|f| line(&f.field, cell(f.old.as_ref()), cell(f.new.as_ref()))).collect()
}

/// A value in a cell: one line, cut short.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None => return "<none>".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.chars().count() <= WIDTH {
        return if plain.is_empty() { "\"\"".into() } else { plain };
    }
    let start: String = plain.chars().take(WIDTH - 3).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::history::Field;

    fn change(created: bool, old: Option<Value>, new: Option<Value>) -> Change {
        let field = Field { field: "spec.replicas".into(), old, new };
        let (time, node) = (Some("2026-11-23T09:00:00Z".into()), "n1".into());
        Change { change: "5d0a1c44".into(), time, user: String::new(), node, created, fields: vec![field] }
    }

    #[test]
    fn a_table_has_a_line_a_field() {
        let changes = vec![change(true, None, Some(1.into())), change(false, Some(1.into()), None)];
        let text = table(&History { object: "x".into(), cut: false, changes });
        let want = "CHANGE     WHEN                   WHO      NODE   FIELD           OLD      NEW\n\
                    5d0a1c44   2026-11-23T09:00:00Z   <none>   n1     (created)       <none>   1 fields\n\
                    5d0a1c44   2026-11-23T09:00:00Z   <none>   n1     spec.replicas   1        <none>\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_cut_history_says_so_and_long_values_are_cut_short() {
        let changes = vec![change(false, Some("".into()), Some(format!("a\n{}", "b".repeat(99)).into()))];
        let text = table(&History { object: "x".into(), cut: true, changes });
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("(earlier changes are not kept)")), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.contains("\"\"") && last.ends_with("bbb...") && last.contains("a bbb"), "{last}");
    }
}
