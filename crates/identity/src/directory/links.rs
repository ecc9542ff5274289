//! Opening a one-time link: the first opener is signed in, everybody after is refused.

use super::{
    Directory, Draft,
    sessions::{Beginning, SignedIn, Visitor},
};
use crate::{error::IdentityError, record::person::Person, secret};
use countersign_core::{Assurance, SignIn};

impl Directory {
    /// Uses up a link and signs its person in at assurance `session`, so that they can register a passkey.
    ///
    /// A right link always works, whatever others guessed before it; wrong ones slow down only their source.
    pub async fn redeem_link(&self, link: &str, visitor: &Visitor<'_>) -> Result<SignedIn, IdentityError> {
        let opened = self.open_link(link, visitor).await;
        self.counted(visitor.source, opened, |error| matches!(error, IdentityError::LinkSpent))
    }

    async fn open_link(&self, link: &str, visitor: &Visitor<'_>) -> Result<SignedIn, IdentityError> {
        let id = secret::fingerprint(link);
        // Guesses end here, before they could keep anyone's write waiting.
        if !secret::has_shape(link) || !self.memory.read().links.contains_key(&id) {
            return Err(IdentityError::LinkSpent);
        }
        let _turn = self.writing.lock().await;
        let now = self.journal.now();
        let held = self.memory.read().links.get(&id).cloned();
        let held = held.filter(|held| now < held.doc.expires).ok_or(IdentityError::LinkSpent)?;
        // A disabled person's links are deleted with them; should one remain, it opens nothing.
        let person = self.standing_person(held.doc.person).map_err(|_| IdentityError::LinkSpent)?;
        let mut draft = Draft::default();
        draft.delete(&held);
        // Whoever made the link says that this person is here, whatever provider they came through before.
        let here = Person {
            enrolled_at: person.doc.enrolled_at.or(Some(now)),
            unlinked: None,
            ..person.doc.clone()
        };
        if here != person.doc {
            draft.replace(&person, here)?;
        }
        let beginning = Beginning {
            person: &person.doc,
            assurance: Assurance::Session,
            provider: None,
            sid: None,
            sign_in: SignIn::default(),
            visitor,
        };
        let signed_in = self.add_session(&mut draft, &beginning)?;
        match self.write(draft).await {
            Ok(()) => Ok(signed_in),
            // Somebody else's commit took the link first.
            Err(IdentityError::Conflict) => Err(IdentityError::LinkSpent),
            Err(error) => Err(error),
        }
    }
}
