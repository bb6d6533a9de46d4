-- Lists the sessions of a user, and sets for how long new ones are refused.
-- KEYS  1 name  2 sessions of the user  3 keep-out (string, exists for that time)
-- ARGV  1 user  2 time, ms; 0 ends an earlier refusal, empty changes nothing
-- Reply the sids; some of them may have expired.
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[3])
elseif ARGV[2] ~= '' then
  redis.call('SET', KEYS[3], '', 'PX', ARGV[2])
end
local sids = redis.call('ZRANGE', KEYS[2], 0, -1)
local sid, user = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+) (.*)$')
if user == ARGV[1] then
  sids[#sids + 1] = sid
end
return sids
