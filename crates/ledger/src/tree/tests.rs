use super::*;
use crate::error::TreeError;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

/// The leaves of the RFC 6962 reference implementation's tests.
pub(crate) const REFERENCE: [&[u8]; 8] = [
    b"",
    &[0x00],
    &[0x10],
    &[0x20, 0x21],
    &[0x30, 0x31],
    &[0x40, 0x41, 0x42, 0x43],
    &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
    &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
];

const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

pub(crate) fn leaves(count: u64) -> Vec<LeafHash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn hex(hash: &Hash) -> String {
    countersign_core::Digest(*hash).hex()
}

#[test]
fn roots_are_those_of_the_reference_implementation() {
    let leaves: Vec<LeafHash> = REFERENCE.iter().map(|leaf| leaf_hash(leaf)).collect();
    assert_eq!(hex(&empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size, root) in (1..).zip(ROOTS) {
        assert_eq!(hex(&root_of(&leaves[..size])), root, "{size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn roots_agree_with_an_independent_tree(count in 0..700u64) {
        let mut other = MemoryBackedTree::<Sha256, [u8; 8]>::new();
        (0..count).for_each(|n| other.push(n.to_be_bytes()));
        let leaves = leaves(count);
        prop_assert_eq!(other.root().as_bytes().to_vec(), root_of(&leaves).to_vec());
        let mut memory = MemoryTree::default();
        memory.extend(leaves.iter().copied());
        prop_assert_eq!(range_root(&memory, 0, count).unwrap(), root_of(&leaves));
    }
}

#[test]
fn a_frontier_reads_back_and_goes_on() {
    for size in [0, 1, 2, 3, 255, 256, 257, 1000] {
        let mut frontier = Frontier::default();
        frontier.extend(leaves(size));
        let bytes = frontier.to_bytes();
        let mut back = Frontier::from_bytes(&bytes).unwrap();
        assert_eq!(back, frontier);
        back.append(LeafHash([9; 32]));
        let mut all = leaves(size);
        all.push(LeafHash([9; 32]));
        assert_eq!(back.root(), root_of(&all));
        assert!(Frontier::from_bytes(&[&bytes[..], &[0; 32]].concat()).is_err());
    }
    assert!(Frontier::from_bytes(b"").is_err());
}

#[test]
fn a_tile_tree_gives_every_node_a_memory_tree_gives() {
    let leaves = leaves(1000);
    let (kept, mut tree) = (SliceLeaves(leaves.clone()), TileTree::default());
    for size in [3, 700, 1000] {
        tree.grow(&kept, size).unwrap();
    }
    let tiles = tree.over(&kept);
    let mut memory = MemoryTree::default();
    memory.extend(leaves);
    for size in [1, 255, 256, 257, 511, 768, 999, 1000] {
        assert_eq!(range_root(&tiles, 0, size).unwrap(), range_root(&memory, 0, size).unwrap(), "{size}");
    }
    assert!(matches!(range_root(&tiles, 0, 1001), Err(TreeError::OutOfRange(1001, 1000))));
}

#[derive(Debug)]
pub(crate) struct SliceLeaves(pub(crate) Vec<LeafHash>);

impl LeafHashes for SliceLeaves {
    fn leaf_hashes(&self, start: u64, count: u64) -> Result<Vec<LeafHash>, ReadError> {
        self.0.as_slice().leaf_hashes(start, count)
    }
}
