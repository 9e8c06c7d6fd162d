//! Judges choices: by the loads that were true when they were made.

/// A choice between two clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Which query of its run.
    pub(crate) index: usize,
    /// What each cluster carried just before.
    pub(crate) loads: [usize; 2],
    /// The chosen one.
    pub(crate) chosen: usize,
}

impl Choice {
    /// Whether the chosen cluster's load by weight was more than the smallest and `slack` by its
    /// weight.
    fn violates(&self, slack: usize, weights: [u32; 2]) -> bool {
        let [mine, other] = [self.chosen, 1 - self.chosen];
        let weight = |side: usize| weights[side] as usize;
        // mine / w > other / v + slack / w, without dividing. Of two, the other is the smallest
        // whenever this can be true.
        self.loads[mine] * weight(other) > self.loads[other] * weight(mine) + slack * weight(other)
    }
}

/// All choices of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) weights: [u32; 2],
    pub(crate) choices: Vec<Choice>,
}

impl Report {
    /// No choices yet.
    pub(crate) fn of(weights: [u32; 2]) -> Self {
        Self { weights, choices: Vec::new() }
    }

    /// One more.
    pub(crate) fn add(&mut self, choice: Choice) {
        self.choices.push(choice);
    }

    /// The choices that were worse than `slack` allows.
    pub(crate) fn violations(&self, slack: usize) -> Vec<Choice> {
        let bad = |choice: &&Choice| choice.violates(slack, self.weights);
        self.choices.iter().filter(bad).copied().collect()
    }

    /// The last choice of each burst: the queries before it have levelled what ended between bursts.
    pub(crate) fn after_bursts(&self, burst: usize) -> impl Iterator<Item = &Choice> {
        self.choices.iter().filter(move |choice| choice.index % burst == burst - 1)
    }

    /// The larger load by the mean one, on the average of the choices that were made while at least
    /// `alive` queries lived; and how many those were.
    pub(crate) fn spread(&self, alive: usize) -> (f64, usize) {
        let loads = self.choices.iter().map(|choice| choice.loads);
        let enough = loads.filter(|[left, right]| left + right >= alive);
        let spreads: Vec<f64> = enough
            .map(|[left, right]| 2.0 * left.max(right) as f64 / (left + right) as f64)
            .collect();
        (spreads.iter().sum::<f64>() / spreads.len() as f64, spreads.len())
    }

    /// The most that both clusters carried at a choice.
    pub(crate) fn most_alive(&self) -> usize {
        self.choices.iter().map(|choice| choice.loads.iter().sum()).max().unwrap_or(0)
    }
}

#[test]
fn a_choice_is_judged_by_load_and_weight() {
    let violates =
        |loads, chosen, slack, weights| Choice { index: 0, loads, chosen }.violates(slack, weights);
    assert!(!violates([3, 4], 1, 1, [1, 1]), "one more is allowed");
    assert!(violates([3, 5], 1, 1, [1, 1]));
    assert!(!violates([3, 5], 0, 1, [1, 1]));
    assert!(!violates([3, 6], 1, 3, [1, 1]));
    assert!(violates([3, 7], 1, 3, [1, 1]));
    assert!(!violates([10, 31], 1, 1, [1, 3]), "31/3 is 10 and a third");
    assert!(violates([10, 32], 1, 1, [1, 3]));
    assert!(violates([12, 30], 0, 1, [1, 3]));
}

#[test]
fn a_spread_is_judged_where_enough_lives() {
    let mut report = Report::of([1, 1]);
    for loads in [[9, 0], [50, 50], [60, 40]] {
        report.add(Choice { index: 0, loads, chosen: 0 });
    }
    assert_eq!(report.spread(100), (1.1, 2));
}
