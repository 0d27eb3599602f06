//! State records in words, for who looks at a log from outside. Nothing is decided here.

use fanal_protocol::PublisherId;

use crate::home::MailboxId;
use crate::record::{DeadLetterMailbox, PeerPut, Record, SubscriptionPut};

/// What a state record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Kind of record, such as `SubscriptionPut`.
    pub kind: &'static str,
    /// All of it, for people; its form may change.
    pub text: String,
    /// What it says a mailbox is for.
    pub mailbox: Option<Named>,
}

/// What a mailbox is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// `durable`, `peer` or `dead_letters`, as in the admin API.
    pub kind: &'static str,
    /// Name of the durable subscription or of the peer.
    pub name: String,
    /// Whose durable subscription it is.
    pub principal: Option<PublisherId>,
}

/// A state record in words; none where this version does not know it. O(record).
pub fn tell(record: &[u8]) -> Option<Told> {
    let record = Record::decode(record)?;
    Some(Told { kind: record.kind(), text: record.text(), mailbox: named(&record) })
}

fn named(record: &Record) -> Option<Named> {
    match record {
        Record::SubscriptionPut(SubscriptionPut { mailbox, principal, authority, name, .. }) => Some(Named {
            mailbox: MailboxId(*mailbox),
            kind: "durable",
            name: name.clone(),
            principal: Some(PublisherId { name: principal.clone(), authority: *authority }),
        }),
        Record::PeerPut(PeerPut { mailbox, name, .. }) => {
            let mailbox = MailboxId(*mailbox);
            Some(Named { mailbox, kind: "peer", name: name.clone(), principal: None })
        }
        Record::DeadLetterMailbox(DeadLetterMailbox { mailbox }) => Some(Named {
            mailbox: MailboxId(*mailbox),
            kind: "dead_letters",
            name: "dead-letters".to_owned(),
            principal: None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Effect;
    use crate::home::{Ask, Home, KeepPatch, Wanted};
    use fanal_protocol::{Fingerprint, StoreId};

    #[test]
    fn every_record_of_a_home_is_told_and_names_its_mailboxes() {
        let mut home = Home::new(StoreId([1; 16]), 0);
        let principal = PublisherId { name: "till".into(), authority: Fingerprint([7; 32]) };
        home.open_epoch(&principal);
        let ask = Ask { filter: "a/#".into(), ..Ask::default() };
        let keep = KeepPatch::default();
        let wanted = Wanted { principal: principal.clone(), name: "billing".into(), ask, keep };
        home.put_subscription(wanted).unwrap();
        let effects = home.drain_effects();
        let records = effects.iter().filter_map(|effect| match effect {
            Effect::State(bytes) => Some(tell(bytes).unwrap()),
            _ => None,
        });
        let told: Vec<Told> = records.collect();
        assert!(told.iter().any(|told| told.kind == "PublisherPut" && told.text.contains("till")));
        let named: Vec<&Named> = told.iter().filter_map(|told| told.mailbox.as_ref()).collect();
        let billing = Named {
            mailbox: MailboxId(1),
            kind: "durable",
            name: "billing".into(),
            principal: Some(principal),
        };
        assert_eq!(named, [&billing]);
        assert_eq!(tell(&[255, 1, 2]), None);
    }
}
