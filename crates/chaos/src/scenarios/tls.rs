//! Redis over TLS, with certificates that gateways must not accept.

use std::time::Duration;

use trunkline_testbed::ServerCertificate;

use super::{
    RedisSetup, Scenario,
    redis::{all_ready, expect_sends_again},
};
use crate::{
    checker::FaultMark,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "tls",
    fault: "Redis speaks TLS, presents wrong certificates to new connections, and is restarted with the right one",
    required: "a gateway never connects with a wrong certificate, and /readyz says what is wrong; connected ones do not notice",
    redis: RedisSetup::Tls,
    arguments: &[],
    execute: wrong_certificates,
}];

/// Certificates that gateways refuse, with words of the reason.
const REFUSED: [(ServerCertificate, &str); 3] = [
    (ServerCertificate::WrongCa, "CA"),
    (ServerCertificate::WrongName, "redis.example"),
    (ServerCertificate::Expired, "expired"),
];

fn wrong_certificates(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("wrong certificates").unnoticed())?;
    let files = run.deployment.certificates()?;
    for (certificate, words) in REFUSED {
        run.deployment.redis()?.present(&files, certificate)?;
        if certificate == REFUSED[0].0 {
            run.deployment.start(3)?;
        }
        run.wait_until(&format!("/readyz says {words:?}"), STEP_TIMEOUT, |deployment| {
            let answer = deployment.member(3).ok().and_then(|member| member.get("/readyz"));
            answer.is_some_and(|answer| answer.status == 503 && answer.body.contains(words))
        })?;
        run.record_evidence(format!("/readyz of gw-3 said {words:?}"));
        run.run_for(Duration::from_secs(1))?;
        let served = run.deployment.gets_traffic(3);
        run.expect(format!("{certificate:?}: gw-3 is not used"), !served);
    }
    run.deployment.redis()?.present(&files, ServerCertificate::Valid)?;
    run.wait_until_served(3)?;
    run.mark_healed()?;
    run.undisturbed()?;
    run.mark_fault(&FaultMark::new("Redis killed").in_redis())?;
    run.deployment.redis()?.kill()?;
    run.run_for(Duration::from_secs(2))?;
    run.deployment.redis()?.restart()?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    expect_sends_again(run)?;
    let closed = run.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    run.expect(format!("no socket was lost ({closed} lost)"), closed == 0);
    Ok(())
}
