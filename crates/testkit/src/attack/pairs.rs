// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two attacks of the catalogue on one disk, chosen by chance: what comes of both must be among what
//! may come of either.

use std::sync::Arc;

use super::{Accept, Attack, Stage, Unreadable, catalogue};
use crate::content::Numbers;
use crate::release::Layer;

/// What pairs are counted under: they have no number of their own.
const ID: &str = "pairs";

/// This many pairs; the same seed, the same pairs.
pub fn pairs(seed: u64, count: usize) -> Vec<Attack> {
    let attacks: Vec<Arc<Attack>> = catalogue()
        .into_iter()
        .filter(|attack| attack.may_share() && attack.policy.is_empty() && !attack.is_mended)
        .map(Arc::new)
        .collect();
    let mut numbers = Numbers::new(seed);
    let mut choose = |below: usize| {
        let number = numbers.below(below as u64);
        usize::try_from(number).expect("it is below a usize")
    };
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let (first, second) = (choose(attacks.len()), choose(attacks.len()));
        let layer = choose(Layer::ALL.len());
        let (first, second) = (&attacks[first], &attacks[second]);
        let is_played = |attack: &Attack| attack.layers.contains(&Layer::ALL[layer]);
        if first.mutator != second.mutator && is_played(first) && is_played(second) {
            let name = format!("{} of seed {seed}", pairs.len());
            pairs.push(pair(&name, first, second, layer));
        }
    }
    pairs
}

fn pair(name: &str, first: &Arc<Attack>, second: &Arc<Attack>, layer: usize) -> Attack {
    const LAYERS: [&[Layer]; 2] = [&[Layer::ALL[0]], &[Layer::ALL[1]]];
    let name = format!(
        "pair {name}: {} {}; {} {}",
        first.id, first.name, second.id, second.name
    );
    let accept = either(&first.accept, &second.accept);
    let changes = [Arc::clone(first), Arc::clone(second)];
    Attack::new(ID, "pair", name, accept, move |target| {
        let [first, second] = &changes;
        first.change(target)?;
        // What the first has removed, the second cannot change.
        if let Err(error) = second.change(target) {
            println!("{} after {}: {error:#}", second.name, first.name);
        }
        Ok(())
    })
    .on(Stage::Shared)
    .only(LAYERS[layer])
}

/// What may come of both: what may come of one, and unreadable what may be for one of them.
fn either(first: &Accept, second: &Accept) -> Accept {
    let paths = [first, second].map(|accept| match &accept.unreadable {
        Unreadable::None => Some(Vec::new()),
        Unreadable::These(paths) | Unreadable::Within(paths) => Some(paths.clone()),
        Unreadable::Any => None,
    });
    let unreadable = match paths {
        [Some(first), Some(second)] => Unreadable::Within([first, second].concat()),
        _ => Unreadable::Any,
    };
    Accept {
        same_tree: first.same_tree || second.same_tree,
        unreadable,
        refusals: [&*first.refusals, &*second.refusals].concat(),
        ..Accept::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_pairs() {
        let names =
            |seed| -> Vec<String> { pairs(seed, 30).into_iter().map(|pair| pair.name).collect() };
        assert_eq!(names(7), names(7));
        assert_ne!(names(7)[0], names(8)[0].replace("seed 8", "seed 7"));
    }

    #[test]
    fn what_may_come_of_a_pair_is_what_may_come_of_one_of_the_two() {
        let accept = either(
            &Accept::unreadable(&["a", "b"]),
            &Accept::unreadable(&["c"]).or_refused(&["pack"]),
        );
        let unreadable = |paths: &[&str]| {
            Verdict::Unreadable(paths.iter().map(|path| format!("./{path}")).collect())
        };
        let refused = |code: &str| Verdict::Refused {
            code: code.into(),
            line: String::new(),
        };
        assert!(accept.allows(&unreadable(&["a", "c"])));
        assert!(accept.allows(&refused("pack")));
        assert!(!accept.allows(&unreadable(&["d"])));
        assert!(!accept.allows(&refused("store")));
        assert!(!accept.allows(&Verdict::SameTree));
    }
}
