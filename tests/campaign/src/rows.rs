//! Where each row of the fault table R01 to R30 is tested: a plan or a named fault of this
//! campaign, or a test elsewhere.

/// Id, and the names of what covers it. A name that ends in `/*` or begins with `*/` stands for
/// all plans of that kind; one with `::` is a test of another target.
pub const ROWS: &[(&str, &[&str])] = &[
    ("R01", &["*/crash-before", "*/crash-after"]),
    ("R03", &["*/answer-lost", "*/late"]),
    ("R04", &["*/answer-lost", "*/twice"]),
    ("R05", &["*/stale-previous", "*/stale-first"]),
    ("R06", &["*/hidden"]),
    ("R07", &["*/twice"]),
    ("R08", &["*/cut", "*/hidden", "R08/every-watch-breaks-off"]),
    (
        "R09",
        &[
            "outages::an_api_server_restarted_while_waiting_costs_nothing",
            "outages::an_api_server_gone_between_post_and_record_loses_no_acceptance",
        ],
    ),
    (
        "R10",
        &["outages::a_store_that_hangs_between_post_and_record_loses_no_acceptance"],
    ),
    ("R12", &["*/paused"]),
    ("R13", &["*/terminated", "*/crash-after"]),
    ("R14", &["R14/api-server-unreachable-after-the-request"]),
    (
        "R15",
        &["journeys::a_clock_an_hour_ahead_brings_neither_an_early_look_nor_an_early_verdict"],
    ),
    (
        "R16",
        &[
            "R16/throttled-in-every-form",
            "journeys::one_throttling_answer_holds_all_resources_of_the_identity_until_one_probe",
        ],
    ),
    ("R17", &["R17/server-errors-and-web-pages"]),
    (
        "R18",
        &[
            "R18/endless-body",
            "R18/answers-in-tiny-pieces",
            "R18/resets-in-the-body",
        ],
    ),
    (
        "R21",
        &[
            "credentials/*",
            "journeys::a_refused_token_is_replaced_once_under_the_same_intent",
            "journeys::a_token_endpoint_that_is_down_is_named_and_heals",
        ],
    ),
    (
        "R22",
        &["journeys::what_passed_an_older_crd_ends_as_invalid_and_the_others_go_on"],
    ),
    ("R23", &["finished/*"]),
    ("R24", &["lifecycle/*"]),
    ("R26", &["R26/api-server-throttles"]),
    ("R28", &["*/terminated"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::NAMED;
    use crate::plan::Variant;
    use crate::scenarios::SCENARIOS;

    /// A plan's name, a variant, a scenario, or a test that stands in the sources.
    fn exists(name: &str) -> bool {
        if let Some(variant) = name.strip_prefix("*/") {
            return Variant::ALL.iter().any(|it| it.name() == variant);
        }
        if let Some(scenario) = name.strip_suffix("/*") {
            return SCENARIOS.iter().any(|it| it.name == scenario);
        }
        if let Some((target, test)) = name.split_once("::") {
            let folder = format!("{}/../{target}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(folder).unwrap();
            return files.flatten().any(|file| {
                let text = std::fs::read_to_string(file.path()).unwrap_or_default();
                text.contains(&format!("async fn {test}("))
            });
        }
        NAMED.iter().any(|it| it.name == name)
    }

    #[test]
    fn what_the_table_names_exists() {
        for (id, names) in ROWS {
            for name in *names {
                assert!(exists(name), "{id} names {name}");
            }
        }
    }
}
