-- A registry of short texts by name, each of which expires unless it is set again: rooms with their user counts, or
-- instances with their reports. Sets records, or returns all of them.
--
-- KEYS[1]  expiries  zset; member: name, score: time at which the record expires, in ms by the clock of Redis
-- KEYS[2]  texts     hash; field: name, value: text
-- ARGV[1]  lifetime of a record in ms
-- ARGV[2…] records to set: name, text, name, text …; an empty text removes the record
--
-- Reply: an empty array if records were given; otherwise {name, text, age in ms} of each record.

local expiries, texts = KEYS[1], KEYS[2]
local lifetime = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

for index = 2, #ARGV, 2 do
  local name, text = ARGV[index], ARGV[index + 1]
  if text == '' then
    redis.call('ZREM', expiries, name)
    redis.call('HDEL', texts, name)
  else
    redis.call('HSET', texts, name, text)
    redis.call('ZADD', expiries, string.format('%.0f', now + lifetime), name)
  end
end

-- At most 500 per call, so that no call blocks Redis for long.
local expired = redis.call('ZRANGEBYSCORE', expiries, '-inf', string.format('%.0f', now), 'LIMIT', 0, 500)
if #expired > 0 then
  redis.call('ZREM', expiries, unpack(expired))
  redis.call('HDEL', texts, unpack(expired))
end
if #ARGV > 1 then
  return {}
end

local reply = {}
local records = redis.call('ZRANGEBYSCORE', expiries, string.format('(%.0f', now), '+inf', 'WITHSCORES')
for index = 1, #records, 2 do
  local name, expiry = records[index], tonumber(records[index + 1])
  local age = math.max(0, now + lifetime - expiry)
  reply[#reply + 1] = {name, redis.call('HGET', texts, name) or '', string.format('%.0f', age)}
end
return reply
