use super::*;
use crate::{
    asks::ELICITATION,
    edge::stage::{Stage, told},
    session::tests::requester,
};

/// An answer whose call ends at the very moment in which there is a connection for it, and nothing has gone out.
struct Between {
    giving: Giving,
    ends: CancellationToken,
}

#[async_trait]
impl Exchange for Between {
    type Reply = ();

    fn passage(&self) -> Passage {
        self.giving.passage()
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        self.giving.bind().await
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        self.giving.connect().await?;
        self.ends.cancel();
        Ok(())
    }

    async fn send(self, clearance: Clearance, ending: Ending) -> Result<(), Failed> {
        self.giving.send(clearance, ending).await
    }
}

#[tokio::test]
async fn an_answer_whose_call_ends_once_there_is_a_connection_for_it_is_released_and_not_sent() {
    // Whatever it ends with.
    for which in 0..4 {
        let stage = Stage::open().await;
        let (door, session) = (Arc::clone(&stage.door), Stage::session());
        let tokens: Vec<_> = (0..4).map(|_| CancellationToken::new()).collect();
        let token = |at: usize| tokens.get(at).cloned().unwrap();
        let giving = Giving {
            way: Arc::clone(&door.target.way),
            session: Arc::clone(&session),
            id: "7".into(),
            call: Call { over: Some(token(0)), taken_back: token(1), session: token(2), stopping: token(3) },
            under_way: Arc::new(UnderWay::new(0)),
            held_by: (Arc::clone(&door.gate), requester(1)),
            connection: None,
        };
        let prepared = Prepared {
            answers: Some(("ask-0".into(), Form::Result)),
            asked: Some("{}".into()),
            ..Prepared::of(r#"{"action":"accept"}"#.into())
        };
        let understood = door.target.classifier.answer(ELICITATION, Form::Result, None);
        let request = call::asked(&door.target, requester(1), ELICITATION, None, understood, prepared);
        let ended = flow::handle(&door.gate, request, Between { giving, ends: token(which) }).await;
        let Ok(Reply::Refused(refused)) = ended else { panic!("{which}: it was given") };
        assert!(refused.refusal.reason.contains(OVER), "{which}: {:?}", refused.refusal);
        let released = stage.entries("execution.released").await;
        assert!(released.iter().any(|entry| entry.to_string().contains(OVER)), "{which}: {released:?}");
        // Its connection rests, unused: it ends with the door.
        let (connection, _) = stage.server.accept().await.unwrap();
        drop((door, stage));
        assert_eq!(told(connection, "answer").await, "", "{which}");
    }
}
