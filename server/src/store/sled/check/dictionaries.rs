//! The dictionaries that payloads need: each stands in two rows.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{
        super::{ReadError, dictionary::Dictionaries},
        keys,
        state::dictionaries::{KINDS, ready, rows},
    },
    Problem, Report,
};

/// Reads all dictionaries, and finds those that are not twice the same.
pub(super) fn check(db: &::sled::Db, report: &mut Report) -> Result<Dictionaries, ReadError> {
    let mut all = Vec::new();
    let [first, second] = KINDS.map(|kind| rows(db, kind));
    let (first, second) = (first?, second?);
    let ids: BTreeSet<_> = first.keys().chain(second.keys()).collect();
    for id in ids {
        let of_both = [&first, &second].map(|rows| rows.get(id).and_then(Option::as_ref));
        if of_both[0] != of_both[1] || of_both[0].is_none() {
            let key = keys::dictionary(KINDS[0], *id);
            report.find(Problem::Dictionary, &key, "its two copies are not the same");
        }
        match of_both.into_iter().flatten().find_map(ready) {
            Some(dictionary) => all.push((Arc::new(dictionary), false)),
            None => {
                let key = keys::dictionary(KINDS[0], *id);
                report.find(Problem::Dictionary, &key, "none of its copies can be read");
            }
        }
    }
    let dictionaries = Dictionaries::new(false);
    dictionaries.replace(all.into_iter());
    Ok(dictionaries)
}
