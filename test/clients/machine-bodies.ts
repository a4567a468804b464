/** What is launched: the example that answers on 8080, as flyctl describes machines. */

const guest = { cpu_kind: 'shared', cpus: 1, memory_mb: 256 }
const run = { init: { cmd: ['node', 'server.js'] }, image: '<ref>', guest, dns: {} }

const service = {
  protocol: 'tcp',
  internal_port: 8080,
  autostop: false,
  autostart: true,
  min_machines_running: 0,
  ports: [
    { port: 80, handlers: ['http'], force_https: false },
    { port: 443, handlers: ['http', 'tls'] },
  ],
  checks: [
    {
      type: 'http',
      interval: '5s',
      timeout: '2s',
      grace_period: '1s',
      method: 'GET',
      path: '/health',
    },
  ],
  force_instance_key: null,
}

/** A machine of deploy's: of a process group, with the release that it is of. */
export const ofDeploy = {
  ...run,
  env: { FLY_PROCESS_GROUP: 'app', PRIMARY_REGION: 'iad' },
  metadata: {
    fly_flyctl_version: '0.4.87',
    fly_platform_version: 'v2',
    fly_process_group: 'app',
    fly_release_id: '<release>',
    fly_release_version: '<version>',
  },
  services: [service],
}

/** A machine of `machine run`'s: nobody's group, and the digest appended to the reference. */
export const ofRun = { ...run, image: '<ref>@<digest>', metadata: { role: 'one-off' } }

export const launch = (config: object, more: object = {}) => ({
  config,
  skip_secrets: false,
  ...more,
})
