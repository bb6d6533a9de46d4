-- The sockets of each user over all instances. One hash slot: all keys share the hash tag of KEYS[1].
--
-- KEYS[1]   zset; member: instance, score: time until which it counts as alive, in ms by the clock of Redis
-- KEYS[2]   zset named <KEYS[1]>:evict; member: <instance> <user> <number>, a socket that the instance is to evict; score: 0. One
--           key for all instances: which of them have such sockets depends on what is found, and every key that a script
--           touches must be declared, or else it fails halfway while the slot migrates to another master
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

local base, notes = KEYS[1], KEYS[2]
local me, lifetime, max, memory = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

-- Removes and returns the sockets that the instance is to evict. An exclamation mark follows a space.
local function take_notes(instance)
  local found = redis.call('ZRANGE', notes, '[' .. instance .. ' ', '(' .. instance .. '!', 'BYLEX')
  for _, note in ipairs(found) do redis.call('ZREM', notes, note) end
  return found
end

local alive = {}
local live = redis.call('ZRANGE', base, '(' .. text(now), '+inf', 'BYSCORE')
for _, instance in ipairs(live) do alive[instance] = true end
local reply = { alive[me] and 1 or 0 }
alive[me] = true
-- The first write is one that a Redis without memory refuses: after any other write, Redis refuses none of a script.
redis.call('ZADD', base, text(now + lifetime), me)
for _, instance in ipairs(redis.call('ZRANGE', base, '-inf', text(now), 'BYSCORE')) do
  redis.call('ZREM', base, instance)
  take_notes(instance)
end

for _, note in ipairs(take_notes(me)) do
  local user, number = note:match('^%S+ (.*) (%d+)$')
  reply[#reply + 1], reply[#reply + 2] = user, number
end

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
        redis.call('ZADD', notes, 0, instance .. ' ' .. user .. ' ' .. oldest)
        redis.call('PEXPIRE', notes, text(lifetime))
      end
    end
  end
end
return reply
