//! The model as the subject of a scenario.

use crate::{
    config::{Config, NodeId},
    rules::Rules,
    scenario::{
        Action, Held, LateName, NamedConfig, NodeState, OperationName, OperationState, Progress,
        Reach, Reached, Reply, Scenario, Subject,
    },
    world::{Answer, Entry, Message, OpId, Operation, Phase, Request, Stamp, World},
};

/// A world that does what a scenario says.
pub struct Modelled {
    world: World,
    operations: Vec<Begun>,
    late: Vec<(LateName, Message)>,
}

/// An operation that has begun.
struct Begun {
    name: OperationName,
    /// What the world calls it.
    id: OpId,
    /// What its last attempt has sent to each owner.
    requests: Vec<(NodeId, Message)>,
    /// The replies of the last step.
    replies: Vec<(NodeId, Reply)>,
}

impl Modelled {
    /// The nodes of a scenario, without a config.
    #[must_use]
    pub fn new(scenario: &Scenario, rules: Rules) -> Self {
        let mut world = World::empty(rules, scenario.nodes);
        world.log = Some(vec![]);
        Self {
            world,
            operations: vec![],
            late: vec![],
        }
    }

    /// What happened so far, in words.
    #[must_use]
    pub fn log(&self) -> &[String] {
        self.world.log.as_deref().unwrap_or_default()
    }

    /// A config of the root that a node is in.
    fn config(&self, node: NodeId, named: &NamedConfig) -> Option<Config> {
        let root = self.world.node(node).config?.root;
        Some(self.world.config_of(root, named.number, &named.owners))
    }

    fn adopt(&mut self, node: NodeId, config: Option<Config>) -> bool {
        config.is_some_and(|config| self.world.adopt(node, config))
    }

    /// A request for an answer has been sent: it arrives, and the answer does what the scenario says.
    fn answer(&mut self, reach: Reach) -> bool {
        let Some(mut message) = self.world.network.pop() else {
            return false;
        };
        if let Message::Pull { .. } = message {
            self.world.deliver(message);
            let Some(answer) = self.world.network.pop() else {
                return false;
            };
            message = answer;
        }
        match reach {
            Reach::AtOnce => self.world.deliver(message),
            Reach::Late(name) => self.late.push((name, message)),
            Reach::Never => {}
        }
        true
    }

    /// A late answer has an effect if it changes something at the node that asked.
    fn deliver(&mut self, name: LateName) -> bool {
        let Some((_, message)) = self.late.iter().find(|(late, _)| *late == name) else {
            return false;
        };
        let before = self.world.nodes.clone();
        self.world.deliver(message.clone());
        self.world.nodes != before
    }

    fn place(&self, name: OperationName) -> Option<usize> {
        let mut operations = self.operations.iter();
        operations.position(|begun| begun.name == name)
    }

    /// Requests of the last attempt reach owners, and so do those of attempts that follow from the answers.
    fn reach(&mut self, name: OperationName, reached: &Reached) -> bool {
        let Some(place) = self.place(name) else {
            return false;
        };
        if !all_own(
            &self.world.operation(self.operations[place].id).config,
            reached,
        ) {
            return false;
        }
        self.operations[place].replies.clear();
        while self.attempt(place, reached) {
            self.send(place);
        }
        true
    }

    /// Notes what an operation asks of all owners. All of it is under way before the first answer, and stays so until a
    /// scenario lets it arrive, even if the operation is done by then.
    fn send(&mut self, place: usize) {
        let id = self.operations[place].id;
        let owners = self.world.operation(id).config.owners().to_vec();
        let requests = owners.into_iter().filter_map(|owner| {
            let request = self.world.request(id, owner.node)?;
            Some((owner.node, request))
        });
        self.operations[place].requests = requests.collect();
    }

    /// Requests of one attempt reach owners. Whether another attempt follows from their answers.
    fn attempt(&mut self, place: usize, reached: &Reached) -> bool {
        let id = self.operations[place].id;
        let attempt = self.world.operation(id).attempt;
        for node in &reached.at {
            let mut requests = self.operations[place].requests.iter();
            if let Some((_, request)) = requests.find(|(to, _)| to == node) {
                self.request(place, *node, request.clone(), reached.answers_return);
            }
        }
        self.world.operation(id).attempt != attempt
    }

    /// One request arrives, and its answer returns or does not.
    fn request(&mut self, place: usize, node: NodeId, request: Message, returns: bool) {
        self.world.network.clear();
        self.world.deliver(request);
        let Some(answered) = self.world.network.pop() else {
            return;
        };
        if let Message::Answered { answer, .. } = &answered {
            let reply = match answer {
                Answer::Ok(_) => Reply::Ok,
                Answer::Newer(_) => Reply::Newer,
                Answer::WrongConfig => Reply::WrongConfig,
            };
            self.operations[place].replies.push((node, reply));
        }
        if returns {
            self.world.deliver(answered);
        }
        self.world.network.clear();
    }

    fn held(&self, entry: Entry) -> Held {
        let mut operations = self.operations.iter();
        let by = operations.find(|begun| begun.id == entry.by);
        Held {
            by: by.expect("only named operations write").name,
            tombstone: entry.tombstone,
        }
    }

    fn progress(&self, operation: &Operation) -> Progress {
        match operation.phase {
            Phase::Read | Phase::Write | Phase::WriteBack(_) => Progress::Open,
            Phase::Dead => Progress::Unknown,
            Phase::Done => match operation.request {
                Request::Read => Progress::Returned(operation.found.map(|entry| self.held(entry))),
                Request::Write | Request::Delete => Progress::Acknowledged,
            },
        }
    }
}

impl Subject for Modelled {
    fn act(&mut self, action: &Action) -> bool {
        self.world.network.clear();
        match action {
            Action::First { owners } => self.world.form(owners),
            Action::Adopt { node, config } => {
                let config = self.config(*node, config);
                self.adopt(*node, config)
            }
            Action::AdoptFrom { node, from } => {
                let config = self.world.node(*from).config;
                self.adopt(*node, config)
            }
            Action::Join { node, from, answer } => {
                self.world.join(*node, *from) && self.answer(*answer)
            }
            Action::Pull { node, from, answer } => {
                self.world.pull(*node, *from) && self.answer(*answer)
            }
            Action::Deliver { late } => self.deliver(*late),
            Action::Crash { node } => {
                self.world.crash(*node);
                true
            }
            Action::Settle { node, config } => {
                let config = self.config(*node, config);
                config.is_some_and(|config| self.world.settle(*node, config))
            }
            Action::Declare { node, present } => self.world.declare(*node, *present),
            Action::Follow { node, from } => self.world.follow(*node, *from),
            Action::Operate {
                name,
                coordinator,
                key,
                request,
                reached,
            } => {
                let config = self.world.node(*coordinator).config;
                if !config.is_some_and(|config| all_own(&config, reached)) {
                    return false;
                }
                let Some(id) = self.world.start(*coordinator, *key, *request) else {
                    return false;
                };
                self.operations.push(Begun {
                    name: *name,
                    id,
                    requests: vec![],
                    replies: vec![],
                });
                self.send(self.operations.len() - 1);
                self.reach(*name, reached)
            }
            Action::Send { name, reached } => self.reach(*name, reached),
            Action::Again { name, reached } => {
                let Some(place) = self.place(*name) else {
                    return false;
                };
                if !self.world.retry(self.operations[place].id, Stamp::Kept) {
                    return false;
                }
                self.send(place);
                self.reach(*name, reached)
            }
        }
    }

    fn node(&self, node: NodeId) -> NodeState {
        let node = self.world.node(node);
        NodeState {
            config: node.config.as_ref().map(named),
            generation: node.config.map_or(0, |config| config.root.generation),
            full: node.full,
            carry: node.carry.as_ref().map(named),
            preds: node.preds.iter().map(named).collect(),
            covered: node.covered.iter().map(named).collect(),
            top: node.top.as_ref().map(named),
            seen: node.seen,
            data: node
                .data
                .iter()
                .map(|entry| entry.map(|entry| self.held(entry)))
                .collect(),
        }
    }

    fn operation(&self, name: OperationName) -> OperationState {
        let place = self.place(name).expect("an operation that has begun");
        let begun = &self.operations[place];
        OperationState {
            progress: self.progress(self.world.operation(begun.id)),
            replies: begun.replies.clone(),
        }
    }

    fn losses(&self) -> usize {
        self.world.losses()
    }

    fn violation(&self) -> Option<String> {
        self.world.violation.map(|violation| violation.to_string())
    }
}

fn all_own(config: &Config, reached: &Reached) -> bool {
    reached.at.iter().all(|node| config.names_node(*node))
}

fn named(config: &Config) -> NamedConfig {
    NamedConfig {
        number: config.number,
        owners: config.owners().to_vec(),
    }
}
