//! Checkpoints: size and root of the tree in the three lines of C2SP tlog-checkpoint, signed as a note.

use crate::{
    error::NoteError,
    keys::SigningKey,
    note::{Note, VerifierKey, assemble},
    tree::Hash,
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// What a log promises: its first `size` entries have this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text of a note. Extension lines are refused: this log writes none.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines =
            text.strip_suffix('\n').ok_or(NoteError::Checkpoint("no line feed at the end"))?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let origin = line().ok_or(NoteError::Checkpoint("no origin"))?.to_owned();
        let size = line().and_then(decimal).ok_or(NoteError::Checkpoint("no size"))?;
        let root = line().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        let root = root.ok_or(NoteError::Checkpoint("no root"))?;
        if lines.next().is_some() {
            return Err(NoteError::Checkpoint("lines after the root"));
        }
        Ok(Self { origin, size, root })
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NoteError> {
        let text = self.to_text();
        let signature = key.sign(text.as_bytes())?;
        Ok(assemble(&text, key.verifier(), &signature))
    }

    /// Reads a note and demands that this key signed it, for the log the key is named after.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        note.verify(key)?;
        let found = Self::parse(note.text)?;
        if found.origin == key.name() {
            return Ok(found);
        }
        Err(NoteError::OtherLog { expected: key.name().to_owned(), found: found.origin })
    }
}

/// A number in ASCII decimal without leading zeros or sign.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::keys;

    #[test]
    fn checkpoint_texts_read_back_and_nothing_else_does() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!((checkpoint.size, checkpoint.to_text().as_str()), (20_852_163, text));
        for bad in [
            "",
            "o\n1\n",
            "o\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
            "o\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n1\nCsUY\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nmore\n",
        ] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_checkpoint_counts_only_under_the_key_and_name_of_its_log() {
        let (keys, other) = (keys(1), keys(3));
        let checkpoint = Checkpoint { origin: keys.origin().into(), size: 7, root: [5; 32] };
        let note = checkpoint.sign(keys.log()).unwrap();
        assert_eq!(Checkpoint::open(&note, keys.log().verifier()), Ok(checkpoint.clone()));
        assert!(matches!(Checkpoint::open(&note, other.log().verifier()), Err(NoteError::Unsigned(_))));
        let forged = note.replace("\n7\n", "\n8\n");
        assert!(matches!(Checkpoint::open(&forged, keys.log().verifier()), Err(NoteError::BadSignature(_))));
        let elsewhere = Checkpoint { origin: "elsewhere".into(), ..checkpoint }.sign(keys.log()).unwrap();
        assert!(matches!(
            Checkpoint::open(&elsewhere, keys.log().verifier()),
            Err(NoteError::OtherLog { .. })
        ));
    }
}
