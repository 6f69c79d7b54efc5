//! Whether a build service may write: only what runs on a protected branch, whose content was reviewed.

use crate::location::Lookup;

/// Why a build service may not write, in words; `None` where it may, or where none is known.
///
/// A pull request runs other people's code beside the credential: what it compiles must not reach the builds of
/// others.
pub fn refusal(variables: Lookup) -> Option<&'static str> {
    let is = |name: &str, value: &str| variables(name).is_some_and(|found| found == value);
    let has = |name: &str| variables(name).is_some_and(|found| !found.is_empty());
    if is("GITHUB_ACTIONS", "true") {
        let event = variables("GITHUB_EVENT_NAME").unwrap_or_default();
        if event.starts_with("pull_request") || event == "merge_group" || event == "issue_comment" {
            return Some("a pull request on GitHub does not write");
        }
        return (!is("GITHUB_REF_PROTECTED", "true"))
            .then_some("on GitHub only protected branches write");
    }
    if is("GITLAB_CI", "true") {
        if has("CI_MERGE_REQUEST_IID") {
            return Some("a merge request on GitLab does not write");
        }
        return (!is("CI_COMMIT_REF_PROTECTED", "true"))
            .then_some("on GitLab only protected branches write");
    }
    // Multibranch pipelines name the change that they try.
    if has("JENKINS_URL") && has("CHANGE_ID") {
        return Some("a change request on Jenkins does not write");
    }
    if is("BUILDKITE", "true")
        && variables("BUILDKITE_PULL_REQUEST").is_some_and(|is| is != "false")
    {
        return Some("a pull request on Buildkite does not write");
    }
    (has("CIRCLECI") && (has("CIRCLE_PULL_REQUEST") || has("CIRCLE_PR_NUMBER")))
        .then_some("a pull request on CircleCI does not write")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(variables: &[(&str, &str)]) -> bool {
        let found = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        refusal(&found).is_some()
    }

    #[test]
    fn only_protected_branches_write() {
        let github = ("GITHUB_ACTIONS", "true");
        let protected = ("GITHUB_REF_PROTECTED", "true");
        assert!(!refused(&[github, protected, ("GITHUB_EVENT_NAME", "push")]));
        assert!(refused(&[github, protected, ("GITHUB_EVENT_NAME", "pull_request_target")]));
        assert!(refused(&[github, ("GITHUB_EVENT_NAME", "push")]));
        let gitlab = ("GITLAB_CI", "true");
        assert!(!refused(&[gitlab, ("CI_COMMIT_REF_PROTECTED", "true")]));
        assert!(refused(&[gitlab, ("CI_COMMIT_REF_PROTECTED", "false")]));
        let merge = ("CI_MERGE_REQUEST_IID", "7");
        assert!(refused(&[gitlab, ("CI_COMMIT_REF_PROTECTED", "true"), merge]));
        assert!(refused(&[("JENKINS_URL", "http://j"), ("CHANGE_ID", "3")]));
        assert!(!refused(&[("JENKINS_URL", "http://j")]));
        assert!(!refused(&[]), "a person decides for themselves");
    }
}
