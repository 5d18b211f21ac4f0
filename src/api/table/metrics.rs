//! What nodes and pods use.

use serde_json::Value;

use super::{Column, NAME, Printer, name, text};
use crate::object::Quantity;

const CPU: Column = text("CPU", "Processor time used, in cores.");
const MEMORY: Column = text("Memory", "Memory used.");
const WINDOW: Column = text("Window", "How long was measured.");

pub(super) const NODES: Printer = Printer {
    columns: &[NAME, CPU, MEMORY, WINDOW],
    cells: |o, _| vec![name(o), o["usage"]["cpu"].clone(), o["usage"]["memory"].clone(), o["window"].clone()],
};

pub(super) const PODS: Printer = Printer {
    columns: &[NAME, CPU, MEMORY, WINDOW],
    cells: |o, _| vec![name(o), sum(o, "cpu"), sum(o, "memory"), o["window"].clone()],
};

/// Adds up what the containers use.
fn sum(pod: &Value, of: &str) -> Value {
    let used = pod["containers"].as_array().into_iter().flatten().filter_map(|c| c["usage"][of].as_str()?.parse().ok());
    let mut all = Quantity::ZERO;
    used.for_each(|one: Quantity| all += one);
    all.to_string().into()
}
