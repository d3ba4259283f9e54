//! Server-side apply and merge patch.
//!
//! Who owns what is remembered as the value that each manager applied last, which is enough for
//! forced applies: what a manager leaves out is removed unless another one applied it too. Lists
//! are atomic, but for `conditions`, whose elements are told apart by `type`.

use serde_json::{Map, Value};

/// What one manager applies: its last value is `last`, those of the others are `others`.
pub fn apply(live: &mut Value, last: &Value, new: &Value, others: &[&Value]) {
    let (Value::Object(live), Value::Object(new)) = (live, new) else {
        return;
    };
    let nothing = Map::new();
    let last = last.as_object().unwrap_or(&nothing);
    for (key, before) in last {
        let others: Vec<_> = others.iter().filter_map(|other| other.get(key)).collect();
        if !new.contains_key(key) {
            remove(live, key, before, &others);
        }
    }
    for (key, wanted) in new {
        let others: Vec<_> = others.iter().filter_map(|other| other.get(key)).collect();
        let before = last.get(key).unwrap_or(&Value::Null);
        match (live.get_mut(key), wanted) {
            (Some(old @ Value::Object(_)), Value::Object(_)) => apply(old, before, wanted, &others),
            (Some(Value::Array(old)), Value::Array(wanted)) if key == "conditions" => {
                apply_conditions(old, before, wanted, &others);
            }
            _ => {
                live.insert(key.clone(), wanted.clone());
            }
        }
    }
}

/// RFC 7396.
pub fn merge(live: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    let fields = live.as_object_mut().expect("it was made an object above");
    for (key, wanted) in patch {
        if wanted.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), wanted);
        }
    }
}

/// Removes what `before` names, except where another manager applied it too.
fn remove(live: &mut Map<String, Value>, key: &str, before: &Value, others: &[&Value]) {
    if others.is_empty() {
        live.remove(key);
        return;
    }
    match (live.get_mut(key), before) {
        (Some(Value::Object(fields)), Value::Object(before)) => {
            for (key, before) in before {
                let others: Vec<_> = others.iter().filter_map(|other| other.get(key)).collect();
                remove(fields, key, before, &others);
            }
        }
        (Some(Value::Array(elements)), before) if key == "conditions" => {
            apply_conditions(elements, before, &[], others);
        }
        _ => {}
    }
}

fn apply_conditions(live: &mut Vec<Value>, before: &Value, wanted: &[Value], others: &[&Value]) {
    let has = |list: &Value, element: &Value| {
        list.as_array()
            .is_some_and(|list| list.iter().any(|other| other["type"] == element["type"]))
    };
    live.retain(|element| !has(before, element) || others.iter().any(|other| has(other, element)));
    for element in wanted {
        match live.iter_mut().find(|old| old["type"] == element["type"]) {
            Some(old) => *old = element.clone(),
            None => live.push(element.clone()),
        }
    }
    let position = |element: &Value| {
        wanted
            .iter()
            .position(|other| other["type"] == element["type"])
    };
    live.sort_by_key(|element| position(element).unwrap_or(usize::MAX));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_manager_leaves_out_goes_unless_another_one_applied_it() {
        let mut live = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": 4});
        let last = json!({"a": 1, "b": {"c": 2, "d": 3}});
        apply(
            &mut live,
            &last,
            &json!({"a": 5}),
            &[&json!({"b": {"d": 3}})],
        );
        assert_eq!(live, json!({"a": 5, "b": {"d": 3}, "e": 4}));
    }

    #[test]
    fn conditions_are_told_apart_by_their_type() {
        let mut live = json!({"conditions": [
            {"type": "Foreign", "status": "True"}, {"type": "A", "status": "True"},
            {"type": "B", "status": "True"}]});
        let last = json!({"conditions": [{"type": "A"}, {"type": "B"}]});
        let new = json!({"conditions": [{"type": "C", "status": "False"}, {"type": "A", "status": "False"}]});
        apply(&mut live, &last, &new, &[]);
        assert_eq!(
            live,
            json!({"conditions": [
            {"type": "C", "status": "False"}, {"type": "A", "status": "False"},
            {"type": "Foreign", "status": "True"}]})
        );
    }

    #[test]
    fn a_merge_patch_follows_rfc_7396() {
        let mut live = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        merge(
            &mut live,
            &json!({"a": {"b": null, "c": [2], "e": {"f": null}}}),
        );
        assert_eq!(live, json!({"a": {"c": [2], "e": {}}, "d": 2}));
    }
}
