use std::collections::HashMap;

use stack::Component;

use super::*;

const SIZE: Size = Size {
    operations: 10_000,
    faults: DECK.len(),
    only: None,
};

#[test]
fn a_seed_always_makes_the_same_plan_and_another_seed_another() {
    assert_eq!(Plan::new(7, SIZE), Plan::new(7, SIZE));
    assert_ne!(Plan::new(7, SIZE).operations, Plan::new(8, SIZE).operations);
    assert_ne!(Plan::new(7, SIZE).faults, Plan::new(8, SIZE).faults);
}

#[test]
fn a_whole_deck_holds_every_fault_once() {
    for seed in 0..50 {
        let plan = Plan::new(seed, SIZE);
        assert_eq!(plan.faults.len(), DECK.len());
        for card in DECK {
            let same = |fault: &&Fault| {
                std::mem::discriminant(&fault.kind) == std::mem::discriminant(&card)
            };
            let cards = DECK
                .iter()
                .filter(|it| std::mem::discriminant(*it) == std::mem::discriminant(&card));
            assert_eq!(
                plan.faults.iter().filter(same).count(),
                cards.count(),
                "{card:?}"
            );
        }
    }
}

#[test]
fn every_card_has_a_name_and_a_plan_can_be_of_one_card_alone() {
    for (name, card) in [
        ("fillDisk", Kind::FillDisk),
        ("kill:mariadb", Kind::Kill(Component::Mariadb)),
        ("slow:database", Kind::Slow(Link::Database, 0)),
        ("commit:loseAnswer", Kind::Commit(Commit::LoseAnswer, 0)),
    ] {
        assert_eq!(card.name(), name);
        let only = Some(card);
        let plan = Plan::new(1, Size { only, ..SIZE });
        assert_eq!(plan.faults.len(), SIZE.faults);
        for fault in &plan.faults {
            let kind = std::mem::discriminant(&fault.kind);
            assert_eq!(kind, std::mem::discriminant(&card), "{name}");
            assert!(
                fault.at_ms + fault.lasts_ms < plan.ends_ms - WINDOW_MS,
                "{name}"
            );
        }
    }
}

#[test]
fn faults_leave_time_before_and_after() {
    for seed in 0..200 {
        let plan = Plan::new(seed, SIZE);
        assert!(plan.faults.iter().all(|fault| fault.at_ms >= QUIET_MS));
        let healed = plan
            .faults
            .iter()
            .map(|fault| fault.at_ms + fault.lasts_ms)
            .max();
        assert!(
            healed < Some(plan.ends_ms - WINDOW_MS),
            "seed {seed}: {healed:?} of {}",
            plan.ends_ms
        );
    }
}

#[test]
fn operations_race_repeat_keys_and_change_bodies() {
    let plan = Plan::new(1, SIZE);
    assert!((SIZE.operations..SIZE.operations + 30).contains(&plan.operations.len()));
    let mut by_key: HashMap<_, Vec<_>> = HashMap::new();
    for operation in &plan.operations {
        let name = (operation.caller.merchant_id(), operation.key.clone());
        by_key.entry(name).or_default().push(operation);
    }
    by_key.retain(|(_, key), _| key.is_some());
    let twins = by_key
        .values()
        .filter(|them| them.len() > 1 && them[0].at_ms == them[1].at_ms);
    assert!(twins.count() > 300);
    let other = by_key
        .values()
        .filter(|them| them.iter().any(|it| it.action != them[0].action));
    assert!(other.count() > 200);
    for action in [Action::Void, Action::Read, Action::Lapse] {
        let asked = plan
            .operations
            .iter()
            .filter(|operation| operation.action == action);
        assert!(asked.count() > 50, "{action:?}");
    }
}

#[test]
fn operations_are_in_time_and_numbered() {
    let plan = Plan::new(2, SIZE);
    assert!(
        plan.operations
            .is_sorted_by_key(|operation| operation.at_ms)
    );
    assert!(
        plan.operations
            .iter()
            .all(|operation| operation.at_ms <= plan.ends_ms)
    );
    assert!(
        (0..)
            .zip(&plan.operations)
            .all(|(number, operation)| operation.operation == number)
    );
}

#[test]
fn a_written_plan_is_a_head_and_a_line_for_each() {
    let plan = Plan::new(
        3,
        Size {
            operations: 100,
            faults: 5,
            only: None,
        },
    );
    let mut written = Vec::new();
    plan.write(&mut written).unwrap();
    let lines: Vec<serde_json::Value> = String::from_utf8(written)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1 + plan.operations.len() + 5);
    assert_eq!(lines[0]["seed"], 3);
    assert!(lines[1..].is_sorted_by_key(|line| line["atMs"].as_u64()));
}
