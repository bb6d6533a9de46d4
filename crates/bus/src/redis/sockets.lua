-- The sockets of each user over all instances. One hash slot: all keys share the hash tag of KEYS[1].
--
-- KEYS[1]   zset; member: instance, score: time until which it counts as alive, in ms by the clock of Redis
-- KEYS[2]   set named <KEYS[1]>:evict:<instance>; member: <user> <number>, the sockets that the instance is to evict. Those of
--           other instances depend on what is found, so they cannot be declared
-- KEYS[3…]  zset named <KEYS[1]>:of:<user>, of the user of each change; member: <instance>/<number>, score: when the socket
--           was opened, in ms
-- ARGV[1]  instance that calls
-- ARGV[2]  how long it counts as alive from now on, in ms
-- ARGV[3]  maximum number of sockets per user
-- ARGV[4]  how long a user's sockets are remembered after the user opened the last one, in ms
-- then three per change: user; number; age of the socket in ms, or -1 if it was closed
--
-- Reply: 1 if the instance counted as alive before the call, otherwise 0; then user and number of each socket of the
-- instance to evict.

local base, me, lifetime, max, memory = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

local alive = {}
local live = redis.call('ZRANGE', base, '(' .. text(now), '+inf', 'BYSCORE')
for _, instance in ipairs(live) do alive[instance] = true end
local reply = { alive[me] and 1 or 0 }
alive[me] = true
-- The first write is one that a Redis without memory refuses: after any other write, Redis refuses none of a script.
redis.call('ZADD', base, text(now + lifetime), me)
redis.call('ZREMRANGEBYSCORE', base, '-inf', text(now))

local notes = KEYS[2]
for _, note in ipairs(redis.call('SMEMBERS', notes)) do
  local user, number = note:match('^(.*) (%d+)$')
  reply[#reply + 1], reply[#reply + 2] = user, number
end
redis.call('DEL', notes)

for i = 5, #ARGV, 3 do
  local user, number, age = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local key, socket = KEYS[(i + 4) / 3], me .. '/' .. number
  if age < 0 then
    redis.call('ZREM', key, socket)
  else
    redis.call('ZADD', key, text(now - age), socket)
    redis.call('PEXPIRE', key, memory)
    local open = {}
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      if alive[member:match('^[^/]*')] then
        open[#open + 1] = member
      else
        redis.call('ZREM', key, member)
      end
    end
    for surplus = 1, #open - max do
      local instance, oldest = open[surplus]:match('^(.*)/(%d+)$')
      redis.call('ZREM', key, open[surplus])
      if instance == me then
        reply[#reply + 1], reply[#reply + 2] = user, oldest
      else
        local others = base .. ':evict:' .. instance
        redis.call('SADD', others, user .. ' ' .. oldest)
        redis.call('PEXPIRE', others, text(lifetime))
      end
    end
  end
end
return reply
