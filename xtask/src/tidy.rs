//! The rules of the tree that no compiler holds: who may depend on whom, how files are kept and named, and what
//! may come into the build.

mod edges;
mod orphans;
mod sources;
mod supply;

use crate::{
    documents,
    tree::{Fault, Tree},
};

/// Every fault of the tree, in the order of its files.
pub(crate) fn faults(tree: &Tree) -> anyhow::Result<Vec<Fault>> {
    let mut faults = edges::faults(tree)?;
    faults.extend(tree.files.iter().flat_map(sources::faults));
    faults.extend(orphans::faults(tree));
    faults.extend(documents::broken_links(tree));
    faults.extend(supply::faults(tree)?);
    faults.sort();
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_keeps_its_rules() {
        let told: Vec<String> =
            faults(&Tree::read().unwrap()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(told, Vec::<String>::new());
    }
}
