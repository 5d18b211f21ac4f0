//! Label selectors in objects (`apis/meta/v1/validation`).

use super::field::{Causes, Field, quoted};
use super::{meta, names};

/// Checks `matchLabels` and `matchExpressions`.
pub(super) fn label_selector(selector: &Field<'_>, causes: &mut Causes) {
    meta::labels(&selector.child("matchLabels"), causes);
    for expression in selector.child("matchExpressions").items() {
        let (operator, values) = (expression.child("operator"), expression.child("values"));
        match operator.text() {
            "In" | "NotIn" if values.len() == 0 => {
                causes.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values.len() > 0 => {
                causes.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            word => causes.invalid_as(&operator, &quoted(word), "not a valid selector operator"),
        }
        let key = expression.child("key");
        causes.invalid_each(&key, names::qualified_name(key.text()));
        for value in values.items() {
            causes.invalid_each(&value, names::label_value(value.text()));
        }
    }
}
