//! Sets of paths, and their form in `fieldsV1`.
//!
//! A path may be in a set while longer ones that begin with it are too: who made a list's element owns the element as
//! well as fields of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::{Element, Path};

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Element, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Whether the path that ends here is in the set.
    member: bool,
    inside: FieldSet,
}

/// What a path's own place is called among what is in it.
const SELF: &str = ".";

impl FieldSet {
    /// Tells whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether the path of this one element is in it.
    pub fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// Returns the set of what follows `element`, if there is any.
    pub fn inside(&self, element: &Element) -> Option<&Self> {
        self.0.get(element).map(|node| &node.inside).filter(|set| !set.is_empty())
    }

    /// Adds a path; the empty one, which is the whole object, belongs to nobody.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.inside.insert(rest);
        }
    }

    /// Adds `element`, if it is a `member`, and what is inside of it.
    pub fn put(&mut self, element: Element, member: bool, inside: Self) {
        if member || !inside.is_empty() {
            self.0.insert(element, Node { member, inside });
        }
    }

    /// Returns what is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (element, theirs) in &other.0 {
            let ours = self.0.entry(element.clone()).or_default();
            ours.member |= theirs.member;
            ours.inside = std::mem::take(&mut ours.inside).union(&theirs.inside);
        }
        self
    }

    /// Returns what is in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(|element, node| match other.0.get(element) {
            Some(theirs) => (node.member && !theirs.member, node.inside.difference(&theirs.inside)),
            None => (node.member, node.inside.clone()),
        })
    }

    /// As [`FieldSet::difference`], but also without what begins with a path that is in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(|element, node| match other.0.get(element) {
            Some(theirs) if theirs.member => (false, Self::default()),
            Some(theirs) => (node.member, node.inside.without(&theirs.inside)),
            None => (node.member, node.inside.clone()),
        })
    }

    /// Returns what is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(|element, node| match other.0.get(element) {
            Some(theirs) => (node.member && theirs.member, node.inside.intersection(&theirs.inside)),
            None => (false, Self::default()),
        })
    }

    fn combine(&self, one: impl Fn(&Element, &Node) -> (bool, Self)) -> Self {
        let mut out = Self::default();
        for (element, node) in &self.0 {
            let (member, inside) = one(element, node);
            out.put(element.clone(), member, inside);
        }
        out
    }

    /// Returns the set with each path that `also` is true of, of those that paths in it begin with. It is given the
    /// elements before, and the element.
    #[must_use]
    pub fn with_beginnings<P: Copy>(
        &self,
        place: P,
        step: impl Fn(P, &Element) -> Option<P> + Copy,
        also: impl Fn(P, &Element) -> bool + Copy,
    ) -> Self {
        let mut out = Self::default();
        for (element, node) in &self.0 {
            let begins = !node.inside.is_empty() && also(place, element);
            let inside = match step(place, element) {
                Some(next) => node.inside.with_beginnings(next, step, also),
                None => node.inside.clone(),
            };
            out.put(element.clone(), node.member || begins, inside);
        }
        out
    }

    /// Lists every path.
    pub fn paths(&self) -> Vec<Path> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, before: &mut Path, found: &mut Vec<Path>) {
        for (element, node) in &self.0 {
            before.push(element.clone());
            if node.member {
                found.push(before.clone());
            }
            node.inside.collect(before, found);
            before.pop();
        }
    }

    /// Writes the set as `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        for (element, node) in &self.0 {
            let mut inside = node.inside.to_json();
            if let Value::Object(inside) = &mut inside
                && node.member
                && !inside.is_empty()
            {
                inside.insert(SELF.into(), Map::new().into());
            }
            members.insert(element.text(), inside);
        }
        members.into()
    }

    /// Reads `fieldsV1`, of which something read a body before, so that its depth is bounded.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_json(json: &Value) -> Result<Self, String> {
        let members = json.as_object().ok_or("fieldsV1 is no object")?;
        let mut out = Self::default();
        for (name, value) in members.iter().filter(|(name, _)| *name != SELF) {
            let inside = Self::of_json(value)?;
            let member = inside.is_empty() || value.get(SELF).is_some();
            out.put(Element::parse(name)?, member, inside);
        }
        Ok(out)
    }
}
