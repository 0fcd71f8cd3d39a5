//! The operations of the contract, and which scenarios are about each: what the table's groups are, and what a test holds
//! complete.

const NAMES: &str = "names and members";
const EXCLUSIVE: &str = "exclusive semaphores";
const COUNTING: &str = "permits";
const EVENTS: &str = "events";
const LISTS: &str = "lists";
const INTERRUPT: &str = "interrupt time";
const PEOPLE: &str = "people's decisions";

/// One operation of `docs/semantics.md`.
pub(super) struct Operation {
    /// A group of the table.
    pub(super) group: &'static str,
    /// What it is called there, for who reads a failed test.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(super) name: &'static str,
    /// The scenarios in which the victim carries it out.
    pub(super) scenarios: &'static [&'static str],
}

const fn op(group: &'static str, name: &'static str, scenarios: &'static [&'static str]) -> Operation {
    Operation { group, name, scenarios }
}

/// In the order of the table's groups.
const OPERATIONS: &[Operation] = &[
    op(NAMES, "open a namespace", &["namespace-make", "namespace-renew", "namespace-renew-copy"]),
    op(NAMES, "register", &["register"]),
    op(NAMES, "cover, describe", &["cover", "describe"]),
    op(NAMES, "gc", &["gc"]),
    op(NAMES, "create", &["create", "create-removed", "create-pool", "create-event"]),
    op(NAMES, "open", &["open", "ephemeral-open", "ephemeral-pool-open", "ephemeral-event-open"]),
    op(NAMES, "open_or_create", &["open-or-create"]),
    op(NAMES, "close", &["ephemeral-close", "ephemeral-pool-close", "ephemeral-event-close"]),
    op(
        NAMES,
        "remove",
        &[
            "remove",
            "remove-used",
            "pool-remove",
            "pool-remove-used",
            "event-remove",
            "event-remove-used",
            "event-remove-sleeper",
        ],
    ),
    op(
        EXCLUSIVE,
        "acquire",
        &[
            "acquire-free",
            "acquire-contended",
            "acquire-queued",
            "acquire-timeout",
            "acquire-owner-dies",
            "acquire-alone-owner-dies",
            "acquire-cancelled",
            "takeover",
            "acquire-removed",
            "nest",
            "async-acquire",
            "async-drop",
        ],
    ),
    op(EXCLUSIVE, "try_acquire", &["try-acquire"]),
    op(
        EXCLUSIVE,
        "release",
        &[
            "release",
            "release-careful",
            "release-waiter",
            "release-line",
            "release-late",
            "release-stopped-waiter",
            "release-keeper-ended",
        ],
    ),
    op(EXCLUSIVE, "abandon", &["abandon-waiter"]),
    op(EXCLUSIVE, "the end of a thread", &["thread-end", "thread-end-shared"]),
    op(EXCLUSIVE, "mark_consistent", &["mark-consistent"]),
    op(EXCLUSIVE, "join", &["share-join", "share-leave", "share-pass", "share-join-all", "share-leave-all"]),
    op(
        COUNTING,
        "acquire permits",
        &[
            "pool-acquire",
            "pool-acquire-many",
            "pool-acquire-queued",
            "pool-acquire-timeout",
            "pool-holder-dies",
            "pool-takeover",
            "pool-slots",
            "async-permits",
        ],
    ),
    op(
        COUNTING,
        "release permits",
        &["pool-release", "pool-release-waiter", "pool-release-line", "pool-release-stopped-waiter", "pool-release-part"],
    ),
    op(COUNTING, "add_permits", &["credit-add-waiter"]),
    op(COUNTING, "forget", &["credit-forget"]),
    op(COUNTING, "resize", &["pool-resize-up", "pool-resize-down"]),
    op(
        EVENTS,
        "signal",
        &[
            "event-signal",
            "event-signal-manual",
            "event-signal-waiter",
            "event-signal-passer-by",
            "event-signal-stopped-waiter",
            "event-signal-waiters-manual",
            "event-signal-joint",
            "event-signal-joint-manual",
        ],
    ),
    op(EVENTS, "reset", &["event-reset", "event-reset-manual", "event-reset-joint", "event-reset-joint-manual"]),
    op(
        EVENTS,
        "wait",
        &[
            "event-wait",
            "event-wait-queued",
            "event-wait-manual",
            "event-wait-timeout",
            "event-wait-joint",
            "async-event",
            "async-drop-event",
        ],
    ),
    op(LISTS, "wait_any", &["any-free", "any-contended", "any-event", "async-drop-any"]),
    op(
        LISTS,
        "acquire_all",
        &[
            "all-free",
            "all-contended",
            "all-permits",
            "all-takeover",
            "all-event",
            "all-event-contended",
            "all-event-manual",
            "all-shared",
            "async-drop-all",
        ],
    ),
    op(
        INTERRUPT,
        "into_signal_release, spend",
        &["prepared-release", "prepared-release-waiter", "spend-waiter", "prepared-permits-waiter", "spend-permits-waiter"],
    ),
    op(INTERRUPT, "add_permits, signal at interrupt time", &["credit-add-interrupt", "event-signal-interrupt"]),
    op(PEOPLE, "drain", &["drain", "drain-pool", "drain-event"]),
    op(PEOPLE, "reopen", &["reopen", "reopen-pool", "reopen-event"]),
    op(PEOPLE, "evict", &["evict", "evict-permits"]),
    op(PEOPLE, "inspect, list", &["look"]),
    op(PEOPLE, "check", &["check"]),
    op(PEOPLE, "repair", &["repair", "repair-left", "repair-left-lost", "release-repaired"]),
    op(PEOPLE, "reset (a namespace)", &["namespace-reset"]),
    op(PEOPLE, "keep_history", &["history"]),
];

/// The group of a scenario.
pub(super) fn group_of(scenario: &str) -> &'static str {
    OPERATIONS.iter().find(|o| o.scenarios.contains(&scenario)).map_or("pairs of operations", |o| o.group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::scenarios::ALL;

    /// What the contract calls differently, or does in one row with something else.
    const ALSO_CALLED: &[(&str, &str)] = &[
        ("acquire_timeout", "acquire"),
        ("_deadline", "acquire"),
        ("acquire_many", "acquire permits"),
        ("into_signal_release", "into_signal_release, spend"),
        ("inspect", "inspect, list"),
        ("list", "inspect, list"),
    ];

    /// The operations that the contract has: the first column of its table, without what they take.
    fn of_the_contract() -> Vec<String> {
        let text = include_str!("../../../../docs/semantics.md");
        let table = text.split("\n## ").find(|part| part.starts_with("Operations")).expect("the operations of the contract");
        let rows = table.lines().filter_map(|l| l.strip_prefix("| ")?.split(" | ").next()).skip(1);
        let names = rows.flat_map(|cell| {
            let bare: String = cell.split('(').map(|part| part.rsplit_once(')').map_or(part, |(_, rest)| rest)).collect();
            bare.split([',', '/']).map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect::<Vec<_>>()
        });
        names.collect()
    }

    #[test]
    fn every_operation_of_the_contract_is_in_the_table() {
        let all = of_the_contract();
        assert!(all.len() > 25 && all.iter().any(|n| n == "evict"), "the contract's table was not read: {all:?}");
        for name in &all {
            let here = ALSO_CALLED.iter().find(|(theirs, _)| theirs == name).map_or(name.as_str(), |(_, ours)| ours);
            let is_it = |o: &Operation| o.name == here || o.name.split(" (").next() == Some(here);
            assert!(OPERATIONS.iter().any(is_it), "nobody is killed or stopped in `{name}` of docs/semantics.md");
        }
    }

    #[test]
    fn every_operation_has_a_scenario_and_every_scenario_is_there() {
        for o in OPERATIONS {
            assert!(!o.scenarios.is_empty(), "nobody is killed or stopped in `{}`", o.name);
            for s in o.scenarios {
                assert!(ALL.iter().any(|a| a.name() == *s), "`{}` names the scenario `{s}`, which does not exist", o.name);
            }
        }
        let of_an_operation = |name| OPERATIONS.iter().any(|o| o.scenarios.contains(&name));
        let of_none: Vec<_> = ALL.iter().map(|s| s.name()).filter(|n| !of_an_operation(n)).collect();
        assert!(of_none.is_empty(), "scenarios of no operation: {of_none:?}");
        let mut names: Vec<_> = ALL.iter().map(|s| s.name()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]), "two scenarios have one name: {names:?}");
    }
}
