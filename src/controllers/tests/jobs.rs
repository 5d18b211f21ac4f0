//! Jobs: attempts made, counted once, tried again, given up.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::condition;
use crate::controllers::job::TRACKING;
use crate::object::{Key, kinds};
use crate::store::{Change, DeleteOptions, Precondition, Propagation};

fn job(spec: &Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "pi", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"job": "pi"}}, "parallelism": 1, "completions": 1, "backoffLimit": 6,
            "template": {"metadata": {"labels": {"job": "pi", "batch.kubernetes.io/job-name": "pi"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pi"}]}}}});
    json_patch::merge(&mut job["spec"], spec);
    job
}

fn start(c: &mut Cluster, spec: &Value) -> Key {
    let key = c.create(job(spec));
    c.settle();
    key
}

fn names(c: &Cluster) -> Vec<String> {
    c.active_pods().iter().map(|e| e.key.name.clone()).collect()
}

/// Lets the first active pod end.
fn end(c: &mut Cluster, phase: &str) -> Key {
    let pod = c.active_pods().first().expect("one is active").key.clone();
    end_at(c, &pod, phase, 1);
    pod
}

fn end_at(c: &mut Cluster, pod: &Key, phase: &str, code: i32) {
    let state = json!({"terminated": {"exitCode": code, "finishedAt": c.now.wall.to_string()}});
    let container =
        json!({"name": "c", "image": "pi", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    c.status(pod, json!({"phase": phase, "containerStatuses": [container]}));
    c.settle();
}

fn counts(c: &Cluster, key: &Key) -> [i64; 3] {
    ["active", "succeeded", "failed"].map(|field| c.value(key)["status"][field].as_i64().unwrap_or(0))
}

fn is(c: &Cluster, key: &Key, name: &str) -> bool {
    condition(&c.value(key), name)["status"] == "True"
}

/// Pods that wait to be counted.
fn tracked(c: &Cluster) -> usize {
    let has = |pod: &Value| pod["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|f| f == TRACKING));
    c.entries(&kinds::POD).iter().filter(|e| has(&e.value())).count()
}

#[test]
fn as_many_run_at_once_as_asked_until_enough_have_succeeded() {
    for seed in 0..20 {
        let mut c = Cluster::new(seed);
        c.lags = seed % 2 == 0;
        let key = start(&mut c, &json!({"completions": 3, "parallelism": 2}));
        assert_eq!((counts(&c, &key), c.value(&key)["status"]["ready"].as_i64()), ([2, 0, 0], Some(2)));
        for done in 1..=3_i64 {
            end(&mut c, "Succeeded");
            assert_eq!(counts(&c, &key), [(3 - done).min(2), done, 0], "seed {seed}");
            assert_eq!(is(&c, &key, "Complete"), done == 3);
        }
        assert!(is(&c, &key, "SuccessCriteriaMet") && c.value(&key)["status"]["completionTime"].is_string());
        assert_eq!(c.messages("Completed"), ["Job completed"]);
        assert_eq!((c.messages("SuccessfulCreate").len(), c.entries(&kinds::POD).len(), tracked(&c)), (3, 3, 0));
        assert_eq!(c.value(&key)["status"]["uncountedTerminatedPods"], json!({}));
    }
}

#[test]
fn an_attempt_is_counted_once_even_if_its_pod_is_deleted_at_once() {
    for seed in 0..30 {
        let mut c = Cluster::new(seed);
        let key = start(&mut c, &json!({"completions": 4, "parallelism": 2}));
        c.lags = true;
        for _ in 0..4 {
            let pod = c.active_pods().first().unwrap().key.clone();
            c.status(&pod, json!({"phase": "Succeeded"}));
            let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
            c.apply(Change::Delete { key: pod.clone(), options }).unwrap();
            c.settle();
            assert!(!c.exists(&pod), "seed {seed}: it is let go of once it is counted");
        }
        assert_eq!((counts(&c, &key), is(&c, &key, "Complete")), ([0, 4, 0], true), "seed {seed}");
    }
}

#[test]
fn failures_are_tried_again_later_and_later_and_then_given_up() {
    let mut c = Cluster::new(1);
    let key = start(&mut c, &json!({"backoffLimit": 2}));
    for (failures, wait) in [(1, 10), (2, 20)] {
        end(&mut c, "Failed");
        assert_eq!(counts(&c, &key), [0, 0, failures]);
        c.wait(wait - 1);
        assert_eq!(counts(&c, &key)[0], 0, "not before {wait} s");
        c.wait(1);
        assert_eq!(counts(&c, &key)[0], 1);
    }
    end(&mut c, "Failed");
    assert_eq!((counts(&c, &key), is(&c, &key, "Failed"), is(&c, &key, "Complete")), ([0, 0, 3], true, false));
    let failed = condition(&c.value(&key), "Failed");
    assert_eq!(
        (&failed["reason"], c.value(&key)["status"].get("completionTime")),
        (&json!("BackoffLimitExceeded"), None)
    );
    assert_eq!(c.messages("BackoffLimitExceeded"), ["Job has reached the specified backoff limit"]);
    c.wait(400);
    assert_eq!((counts(&c, &key)[0], tracked(&c)), (0, 0));
}

#[test]
fn what_runs_is_ended_when_the_deadline_is_over() {
    let mut c = Cluster::new(2);
    let key = start(&mut c, &json!({"activeDeadlineSeconds": 30, "parallelism": 2, "completions": 2}));
    c.wait(29);
    assert!(!is(&c, &key, "FailureTarget"));
    c.wait(1);
    assert_eq!(condition(&c.value(&key), "Failed")["reason"], "DeadlineExceeded");
    assert_eq!((names(&c).len(), c.entries(&kinds::POD).len(), tracked(&c)), (0, 0, 0));
}

#[test]
fn a_suspended_job_has_no_pods_and_its_clock_stands() {
    let mut c = Cluster::new(3);
    let key = start(&mut c, &json!({"suspend": true, "completions": 2, "parallelism": 2, "activeDeadlineSeconds": 60}));
    assert_eq!((names(&c).len(), is(&c, &key, "Suspended")), (0, true));
    c.wait(100);
    assert_eq!(c.value(&key)["status"].get("startTime"), None);
    c.edit(&key, |job| job["spec"]["suspend"] = json!(false));
    c.settle();
    assert_eq!((counts(&c, &key), is(&c, &key, "Suspended")), ([2, 0, 0], false));
    assert_eq!(c.value(&key)["status"]["startTime"], c.now.wall.to_string());
    c.edit(&key, |job| job["spec"]["suspend"] = json!(true));
    c.settle();
    assert_eq!((counts(&c, &key), c.entries(&kinds::POD).len()), ([0, 0, 0], 0), "what we stop is no failure");
    assert_eq!((c.messages("Suspended").len(), c.messages("Resumed").len()), (2, 1));
}

#[test]
fn fewer_at_once_is_no_failure() {
    let mut c = Cluster::new(4);
    let key = start(&mut c, &json!({"completions": 10, "parallelism": 8, "backoffLimit": 0}));
    c.edit(&key, |job| job["spec"]["parallelism"] = json!(3));
    c.settle();
    assert_eq!((counts(&c, &key), is(&c, &key, "Failed")), ([3, 0, 0], false));
}

#[test]
fn each_index_is_worked_on_until_it_is_done() {
    for seed in 0..10 {
        let mut c = Cluster::new(seed);
        c.lags = seed % 2 == 1;
        let key = start(&mut c, &json!({"completions": 5, "parallelism": 3, "completionMode": "Indexed"}));
        let index = |pod: &Value| {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap().to_owned()
        };
        let held = |c: &Cluster| c.active_pods().iter().map(|e| index(&e.value())).collect::<BTreeSet<_>>();
        assert_eq!(held(&c), ["0", "1", "2"].map(str::to_owned).into());
        let pod = c.active_pods()[0].value();
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with(&format!("pi-{}-", index(&pod))));
        assert_eq!(pod["spec"]["hostname"], format!("pi-{}", index(&pod)));
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
        let of = |c: &Cluster, wanted: &str| {
            c.active_pods().iter().find(|e| index(&e.value()) == wanted).unwrap().key.clone()
        };
        let second = of(&c, "1");
        end_at(&mut c, &second, "Failed", 1);
        c.wait(10);
        assert_eq!(held(&c), ["0", "1", "2"].map(str::to_owned).into(), "tried again");
        for done in ["0", "2", "3", "1", "4"] {
            let pod = of(&c, done);
            end_at(&mut c, &pod, "Succeeded", 0);
        }
        assert_eq!(c.value(&key)["status"]["completedIndexes"], "0-4");
        assert_eq!((counts(&c, &key), is(&c, &key, "Complete")), ([0, 5, 1], true), "seed {seed}");
    }
}

#[test]
fn the_time_after_the_end_is_over_and_the_job_goes_with_its_pods() {
    let mut c = Cluster::new(5);
    let key = start(&mut c, &json!({"ttlSecondsAfterFinished": 20}));
    end(&mut c, "Succeeded");
    c.wait(19);
    assert!(c.exists(&key));
    c.wait(2);
    assert!(!c.exists(&key) && c.entries(&kinds::POD).is_empty());
}

#[test]
fn a_pod_of_a_lost_node_is_replaced_and_counts_when_it_is_back() {
    let mut c = Cluster::new(6);
    c.nodes = vec!["n1"];
    let key = start(&mut c, &json!({"completions": 2, "parallelism": 1}));
    let lost = c.active_pods()[0].key.clone();
    let taint =
        json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": c.now.wall.to_string()}]);
    c.nodes = vec!["n2"];
    c.edit(&Key::cluster(&kinds::NODE, "n1"), |n| n["spec"]["taints"] = taint);
    c.settle();
    assert_eq!((counts(&c, &key)[0], names(&c).len()), (1, 2), "the lost one is left alone");
    c.nodes = vec!["n1", "n2"];
    c.edit(&Key::cluster(&kinds::NODE, "n1"), |n| n["spec"]["taints"] = json!([]));
    end_at(&mut c, &lost, "Succeeded", 0);
    assert_eq!(counts(&c, &key), [1, 1, 0]);
    end(&mut c, "Succeeded");
    assert!(is(&c, &key, "Complete"));
}

#[test]
fn rules_say_which_failures_count_and_which_end_it_all() {
    let rules = json!({"podFailurePolicy": {"rules": [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]}, "backoffLimit": 0});
    let mut c = Cluster::new(7);
    let key = start(&mut c, &rules);
    let pod = c.active_pods()[0].key.clone();
    end_at(&mut c, &pod, "Failed", 7);
    assert_eq!((counts(&c, &key)[2], is(&c, &key, "Failed")), (0, false));
    c.wait(10);
    let pod = c.active_pods()[0].key.clone();
    end_at(&mut c, &pod, "Failed", 42);
    assert_eq!(condition(&c.value(&key), "Failed")["reason"], "PodFailurePolicy");
}

#[test]
fn the_pods_of_a_job_that_goes_are_let_go_of() {
    for (propagation, left) in [(Propagation::Background, 0), (Propagation::Foreground, 0), (Propagation::Orphan, 2)] {
        let mut c = Cluster::new(8);
        let key = start(&mut c, &json!({"completions": 2, "parallelism": 2}));
        assert_eq!(tracked(&c), 2);
        c.delete(&key, propagation);
        c.settle();
        assert!(!c.exists(&key), "{propagation:?}");
        assert_eq!((c.entries(&kinds::POD).len(), tracked(&c)), (left, 0), "{propagation:?}");
    }
    let mut c = Cluster::new(9);
    let key = start(&mut c, &json!({}));
    c.apply(Change::Remove { key, when: Precondition::default() }).unwrap();
    c.settle();
    assert_eq!(c.entries(&kinds::POD).len(), 0);
}
