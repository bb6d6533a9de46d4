-- Charges uses to keys by the generic cell rate algorithm. One hash slot: all keys share a hash tag.
--
-- KEYS[i]  string; the theoretical arrival time of the key, in µs by the clock of Redis. Expires when it has no effect
-- ARGV[1]  grace: uses that were admitted already count as if they happened this long ago, in µs
-- then three per key:
--   count        number of uses
--   interval     time between two uses at the rate, in µs
--   max_backlog  charge only if the key is at most this far ahead of the time, in µs; -1: charge in any case
--
-- Reply, two integers per key: 1 if the uses were charged, otherwise 0; how far the key is ahead of the time, in µs.

local time = redis.call('TIME')
local now, grace = tonumber(time[1]) * 1000000 + tonumber(time[2]), tonumber(ARGV[1])
local reply = {}
for i, key in ipairs(KEYS) do
  local count, interval = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local max_backlog = tonumber(ARGV[3 * i + 1])
  local is_reported = max_backlog < 0
  local floor = is_reported and now - grace or now
  local arrival = math.max(tonumber(redis.call('GET', key) or '') or floor, floor)
  -- Uses that are admitted here leave no larger backlog. It is larger if the clock of Redis was set back.
  local latest = now + max_backlog + count * interval
  local is_late = not is_reported and arrival > latest
  if is_late then arrival = latest end
  local is_admitted = is_reported or arrival - now <= max_backlog
  if is_admitted then arrival = arrival + count * interval end
  if is_admitted or is_late then
    local lifetime = math.max(math.ceil((arrival - now + grace) / 1000), 1)
    redis.call('SET', key, string.format('%.0f', arrival), 'PX', string.format('%.0f', lifetime))
  end
  reply[2 * i - 1] = is_admitted and 1 or 0
  reply[2 * i] = math.max(arrival - now, 0)
end
return reply
