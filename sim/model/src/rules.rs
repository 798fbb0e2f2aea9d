//! Which rule is modelled: [`Rules::sound`] is the design, and every planted bug switches one thing.

use std::fmt;

/// The rule as switches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Configs carry a number, and a node only ever moves up in their order.
    pub numbered: bool,
    /// A source answers a pull only while it is in the puller's config.
    pub sealed: bool,
    /// The preds of an answerer count as well as the puller's.
    pub transitive: bool,
    /// A node that leaves a config without being full keeps its older preds.
    pub keep_preds: bool,
    /// An operation needs at least one full answerer, or a carry quorum.
    pub need_full: bool,
    /// Stricter than the design: every counted answer must be full.
    pub all_full: bool,
    /// Owners that continue may answer as a carry quorum.
    pub carry: bool,
    /// Bug: one carrying owner counts as full.
    pub carry_is_full: bool,
    /// Bug: carry answers of different preds are added up.
    pub carry_mixed: bool,
    /// Boots are compared, so that a restarted node is another node.
    pub boots: bool,
    /// A read stores the newest on a write quorum before it answers.
    pub write_back: bool,
    /// A replica that holds something newer refuses a write.
    pub newer: bool,
    /// A cover of a config meets every other cover of it, not only every write quorum.
    pub covers_meet: bool,
    /// Pulls carry tombstones.
    pub tombstones: bool,
    /// Bug: an answerer that was full earlier is believed without its data.
    pub discharge_blind: bool,
    /// Bug: displaced owners drop their copy once one owner is full, instead of all.
    pub drop_early: bool,
    /// A move to another root drops the data of the old one.
    pub root_drops: bool,
    /// Some of the answerers may do; else one unfinished, dead config blocks for ever.
    pub choose: bool,
    /// A stay in which a node answered nothing leaves no pred.
    pub unseen_free: bool,
    /// What a node answered is remembered.
    pub trace: bool,
    /// A node never adopts a config that names an older boot of itself.
    pub own_boot: bool,
    /// A declared loss keeps the data where the survivors meet every write quorum (two owners).
    pub salvage: bool,
    /// Bug: it does so by what the declaring node itself has to cover, whatever the others know.
    pub salvage_own: bool,
    /// Where nobody was full, what lies below the first config of the root is nothing.
    pub first_base: bool,
    /// Bug: only former full owners count as sources.
    pub only_full_sources: bool,
    /// A full owner remembers what it covered until all owners are full.
    pub keep_covered: bool,
    /// A replica in another config of the same root stores the value, which never counts.
    pub store_wrong: bool,
    /// Bug: it does so even when the config belongs to another root.
    pub store_foreign: bool,
}

impl Rules {
    /// The design.
    #[must_use]
    pub fn sound() -> Self {
        Self {
            numbered: true,
            sealed: true,
            transitive: true,
            keep_preds: true,
            need_full: true,
            all_full: false,
            carry: true,
            carry_is_full: false,
            carry_mixed: false,
            boots: true,
            write_back: true,
            newer: true,
            covers_meet: true,
            tombstones: true,
            discharge_blind: false,
            drop_early: false,
            root_drops: true,
            choose: true,
            unseen_free: true,
            trace: true,
            own_boot: true,
            salvage: true,
            salvage_own: false,
            first_base: true,
            only_full_sources: false,
            keep_covered: true,
            store_wrong: true,
            store_foreign: false,
        }
    }

    /// The first sketch of the design: no numbers, and only full answers count. It is not safe.
    #[must_use]
    pub fn sketch(self) -> Self {
        Self {
            numbered: false,
            ..self.all_full()
        }
    }

    /// Stricter than the design: all counted answers are full.
    #[must_use]
    pub fn all_full(self) -> Self {
        Self {
            all_full: true,
            carry: false,
            ..self
        }
    }
}

/// A planted bug: a scenario has to find it, and most are found by random schedules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bug {
    /// A source answers a pull in whatever config it is.
    Unsealed,
    /// What an answerer has yet to cover is not asked.
    PredsOfAnswerersIgnored,
    /// Who leaves a config unfinished forgets what it had to cover.
    OlderPredsForgotten,
    /// Operations need no full owner.
    NoFullNeeded,
    /// One continuing owner counts as full.
    CarryIsFull,
    /// Continuing owners count together, wherever they come from.
    CarryMixed,
    /// A restarted node counts as its former self.
    BootsIgnored,
    /// Nodes may return to lower configs.
    Unnumbered,
    /// Reads answer without storing what they found.
    NoWriteBack,
    /// Writes are acknowledged under something newer.
    NewerAcknowledged,
    /// Pulls leave tombstones out.
    NoTombstones,
    /// Older preds are dropped without the data.
    BlindDischarge,
    /// Copies are dropped when one owner is full.
    DroppedEarly,
    /// A new root keeps the data of the old one.
    RootKeepsData,
    /// A write of another root is stored.
    ForeignWriteStored,
    /// One of two owners is a cover.
    SmallCover,
    /// A node forgets that it answered pulls.
    TraceForgotten,
    /// Only former full owners are sources.
    OnlyFullSources,
    /// Whatever an answerer mentions has to be covered.
    EveryMentionCovered,
    /// Also a config in which a node did nothing for others has to be covered.
    UnseenStaysCount,
    /// A node may adopt a config that names an older boot of itself.
    OlderBootAdopted,
    /// A declared loss keeps the data by the preds of the declaring node alone.
    OwnPredsSalvage,
    /// In a root where nobody was full there is nowhere to begin.
    NoBaseInNewRoot,
    /// A full owner forgets what it covered.
    CoveredForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Unsealed,
        Self::PredsOfAnswerersIgnored,
        Self::OlderPredsForgotten,
        Self::NoFullNeeded,
        Self::CarryIsFull,
        Self::CarryMixed,
        Self::BootsIgnored,
        Self::Unnumbered,
        Self::NoWriteBack,
        Self::NewerAcknowledged,
        Self::NoTombstones,
        Self::BlindDischarge,
        Self::DroppedEarly,
        Self::RootKeepsData,
        Self::ForeignWriteStored,
        Self::SmallCover,
        Self::TraceForgotten,
        Self::OnlyFullSources,
        Self::EveryMentionCovered,
        Self::UnseenStaysCount,
        Self::OlderBootAdopted,
        Self::OwnPredsSalvage,
        Self::NoBaseInNewRoot,
        Self::CoveredForgotten,
    ];

    /// Its name on the command line and in scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::PredsOfAnswerersIgnored => "preds-of-answerers-ignored",
            Self::OlderPredsForgotten => "older-preds-forgotten",
            Self::NoFullNeeded => "no-full-needed",
            Self::CarryIsFull => "carry-is-full",
            Self::CarryMixed => "carry-mixed",
            Self::BootsIgnored => "boots-ignored",
            Self::Unnumbered => "unnumbered",
            Self::NoWriteBack => "no-write-back",
            Self::NewerAcknowledged => "newer-acknowledged",
            Self::NoTombstones => "no-tombstones",
            Self::BlindDischarge => "blind-discharge",
            Self::DroppedEarly => "dropped-early",
            Self::RootKeepsData => "root-keeps-data",
            Self::ForeignWriteStored => "foreign-write-stored",
            Self::SmallCover => "small-cover",
            Self::TraceForgotten => "trace-forgotten",
            Self::OnlyFullSources => "only-full-sources",
            Self::EveryMentionCovered => "every-mention-covered",
            Self::UnseenStaysCount => "unseen-stays-count",
            Self::OlderBootAdopted => "older-boot-adopted",
            Self::OwnPredsSalvage => "own-preds-salvage",
            Self::NoBaseInNewRoot => "no-base-in-new-root",
            Self::CoveredForgotten => "covered-forgotten",
        }
    }

    /// Whether random schedules find it, within a few hundred thousand seeds. Scenarios find all of them.
    #[must_use]
    pub fn is_found_at_random(self) -> bool {
        !matches!(
            self,
            Self::UnseenStaysCount | Self::OlderBootAdopted | Self::NoBaseInNewRoot
        )
    }

    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }

    /// The design with this bug.
    #[must_use]
    pub fn rules(self) -> Rules {
        let mut rules = Rules::sound();
        match self {
            Self::Unsealed => rules.sealed = false,
            Self::PredsOfAnswerersIgnored => rules.transitive = false,
            Self::OlderPredsForgotten => rules.keep_preds = false,
            Self::NoFullNeeded => rules.need_full = false,
            Self::CarryIsFull => rules.carry_is_full = true,
            Self::CarryMixed => rules.carry_mixed = true,
            Self::BootsIgnored => rules.boots = false,
            Self::Unnumbered => rules.numbered = false,
            Self::NoWriteBack => rules.write_back = false,
            Self::NewerAcknowledged => rules.newer = false,
            Self::NoTombstones => rules.tombstones = false,
            Self::BlindDischarge => rules.discharge_blind = true,
            Self::DroppedEarly => rules.drop_early = true,
            Self::RootKeepsData => rules.root_drops = false,
            Self::ForeignWriteStored => rules.store_foreign = true,
            Self::SmallCover => rules.covers_meet = false,
            Self::TraceForgotten => rules.trace = false,
            Self::OnlyFullSources => rules.only_full_sources = true,
            Self::EveryMentionCovered => rules.choose = false,
            Self::UnseenStaysCount => rules.unseen_free = false,
            Self::OlderBootAdopted => rules.own_boot = false,
            Self::OwnPredsSalvage => rules.salvage_own = true,
            Self::NoBaseInNewRoot => rules.first_base = false,
            Self::CoveredForgotten => rules.keep_covered = false,
        }
        rules
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
