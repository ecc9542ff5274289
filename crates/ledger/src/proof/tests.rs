use super::*;
use crate::tree::{
    MemoryTree, TileTree,
    tests::{SliceLeaves, leaves},
};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

fn oracle(count: u64) -> MemoryBackedTree<Sha256, [u8; 8]> {
    let mut tree = MemoryBackedTree::new();
    (0..count).for_each(|n| tree.push(n.to_be_bytes()));
    tree
}

fn memory(count: u64) -> MemoryTree {
    let mut tree = MemoryTree::default();
    tree.extend(leaves(count));
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn inclusion_agrees_with_an_independent_tree(size in 1..700u64, at in any::<proptest::sample::Index>()) {
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let tree = memory(700);
        let path = inclusion(&tree, index, size).unwrap();
        let expected = oracle(size).prove_inclusion(usize::try_from(index).unwrap());
        prop_assert_eq!(path.concat(), expected.as_bytes());
        let (kept, mut tiles) = (SliceLeaves(leaves(700)), TileTree::default());
        tiles.grow(&kept, 700).unwrap();
        prop_assert_eq!(&inclusion(&tiles.over(&kept), index, size).unwrap(), &path);

        let root = range_root(&tree, 0, size).unwrap();
        let leaf = leaves(700)[usize::try_from(index).unwrap()];
        prop_assert!(verify_inclusion(leaf, index, size, &path, &root).is_ok());
        prop_assert!(verify_inclusion(LeafHash([1; 32]), index, size, &path, &root).is_err());
        prop_assert!(verify_inclusion(leaf, index, size, &path, &[1; 32]).is_err());
        let longer = [path.clone(), vec![[0; 32]]].concat();
        prop_assert!(verify_inclusion(leaf, index, size, &longer, &root).is_err());
        if let Some((_, shorter)) = path.split_last() {
            prop_assert!(verify_inclusion(leaf, index, size, shorter, &root).is_err());
        }
        for at in 0..path.len() {
            let mut changed = path.clone();
            changed[at][0] ^= 1;
            prop_assert!(verify_inclusion(leaf, index, size, &changed, &root).is_err());
        }
    }

    #[test]
    fn consistency_agrees_with_an_independent_tree(old in 1..500u64, more in 0..300u64) {
        let (tree, new) = (memory(800), old + more);
        let path = consistency(&tree, old, new).unwrap();
        if more > 0 {
            let expected = oracle(new).prove_consistency(usize::try_from(more).unwrap());
            prop_assert_eq!(path.concat(), expected.as_bytes());
        }
        let (first, second) = (range_root(&tree, 0, old).unwrap(), range_root(&tree, 0, new).unwrap());
        prop_assert!(verify_consistency((old, &first), (new, &second), &path).is_ok());
        prop_assert!(verify_consistency((old, &[1; 32]), (new, &second), &path).is_err());
        prop_assert!(verify_consistency((old, &first), (new, &[1; 32]), &path).is_err());
        let longer = [path.clone(), vec![[0; 32]]].concat();
        prop_assert!(verify_consistency((old, &first), (new, &second), &longer).is_err());
        for at in 0..path.len() {
            let mut changed = path.clone();
            changed[at][0] ^= 1;
            prop_assert!(verify_consistency((old, &first), (new, &second), &changed).is_err());
        }
    }

    #[test]
    fn verification_of_arbitrary_proofs_never_panics(
        index in any::<u64>(), size in any::<u64>(), hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let _ = verify_inclusion(LeafHash([1; 32]), index, size, &hashes, &[0; 32]);
        let _ = verify_consistency((index, &[1; 32]), (size, &[0; 32]), &hashes);
    }
}

#[test]
fn what_lies_beyond_the_tree_cannot_be_proven() {
    let tree = memory(5);
    assert!(inclusion(&tree, 5, 5).is_err());
    assert!(inclusion(&tree, 0, 6).is_err());
    assert!(consistency(&tree, 0, 5).is_err());
    assert!(consistency(&tree, 3, 6).is_err());
}

#[test]
fn a_receipt_reads_back() {
    let proof =
        TlogProof { index: 7, path: vec![[1; 32], [2; 32]], checkpoint: "o\n9\nr\n\n— o s\n".into() };
    let text = proof.to_text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 7\nAQEB"), "{text}");
    assert_eq!(TlogProof::parse(&text).unwrap(), proof);
    for bad in [
        "",
        "c2sp.org/tlog-proof@v2\nindex 7\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 07\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 7\nAQ==\n\nx",
    ] {
        assert!(TlogProof::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_receipt_proves_its_entry_and_no_other() {
    let (keys, tree, leaves) = (crate::keys::tests::keys(1), memory(300), leaves(300));
    let root = range_root(&tree, 0, 300).unwrap();
    let note = Checkpoint { origin: keys.origin().into(), size: 300, root }.sign(keys.log()).unwrap();
    let receipt = TlogProof::make(&tree, 77, 300, note).unwrap();
    let receipt = TlogProof::parse(&receipt.to_text()).unwrap();
    assert_eq!(receipt.verify(leaves[77], keys.log().verifier()).unwrap().size, 300);
    assert!(receipt.verify(leaves[78], keys.log().verifier()).is_err());
    assert!(receipt.verify(leaves[77], crate::keys::tests::keys(3).log().verifier()).is_err());
    let elsewhere = TlogProof { index: 78, ..receipt };
    assert!(elsewhere.verify(leaves[77], keys.log().verifier()).is_err());
}
