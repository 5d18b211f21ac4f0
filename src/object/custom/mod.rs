//! Kinds that users define (apiextensions.k8s.io): what a CustomResourceDefinition says, and what follows from it.
//!
//! A kind is a name; which versions of it are served, and what its objects may hold, is its definition's to say, and the
//! definition is an object like any other. So whoever holds an object needs no definition to keep, merge or tell it: by a
//! document's layout maps are merged by key and lists are one value, whatever the schema says. The schema counts where a
//! client writes or reads.

/// The finalizer by which the objects of a definition go before it.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

mod catalog;
mod definition;
mod fill;
mod formats;
mod intern;
mod order;
mod path;
mod schema;
mod validate;

pub use catalog::{Catalog, Taken, is_builtin, status};
pub use definition::{Column, Definition, Scale, Version};
pub use fill::{defaults, prune, whole_numbers};
pub use intern::{MAX_KINDS, Names, kind};
pub use path::{JsonPath, at, put};
pub use schema::{Pattern, Range, Rules, Schema, Type, pattern};
pub use validate::{validate, validate_value};
