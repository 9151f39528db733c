-- say: keep what running attempts say while they work, fenced by their tokens.
--
-- KEYS  job_     HASH    by job
--       tokens_  STREAM  by job: what its newest attempt said, an entry for each piece
-- SETS  tokens_max_bytes  int  of one attempt; what comes after is not kept
-- ARGV  rest...  job, token, from, to, text: the bytes from..to of all that the attempt says
-- Returns said, full or lost per piece. What is there already is not said twice; where bytes are
-- missing (a worker that had to drop some, a Redis that lost its tail) `from` shows it. An attempt
-- begins with an entry without text that leaves nothing of the one before; one without text and with
-- `cut` says that the rest is not kept.
local TOKENS_MS = 3600000
local answers = {}

-- Entries have their fields in one order, so that they can be read by place.
local TO, CUT = 6, 9
local MANY = 1000000 -- the bytes are what is limited

local function write(id, most, ...)
  redis.call('XADD', tokens_ .. id, 'MAXLEN', most, '*', ...)
  redis.call('PEXPIRE', tokens_ .. id, TOKENS_MS)
end

local function say(id, token, from, to, piece)
  local row = redis.call('HMGET', job_ .. id, 'lease', 'state')
  local attempt, newest_token = string.match(row[1] or '', '^(%d+)\t([^\t]*)')
  if newest_token ~= token or row[2] ~= 'active' then return 'lost' end
  local newest = redis.call('XREVRANGE', tokens_ .. id, '+', '-', 'COUNT', 1)[1]
  local entry = newest and newest[2]
  local there = 0
  if entry and entry[2] == attempt then
    if entry[CUT] then return 'full' end
    there = tonumber(entry[TO])
  else
    write(id, 1, 'a', attempt, 'f', 0, 't', 0, 'x', '')
  end
  from, to = tonumber(from), tonumber(to)
  if to <= there then return 'said' end
  if to > tokens_max_bytes then
    write(id, MANY, 'a', attempt, 'f', there, 't', there, 'x', '', 'cut', 1)
    return 'full'
  end
  if from < there then
    piece = string.sub(piece, there - from + 1)
    from = there
  end
  write(id, MANY, 'a', attempt, 'f', from, 't', to, 'x', piece)
  return 'said'
end

for i = rest, #ARGV, 5 do
  answers[#answers + 1] = say(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
return answers
