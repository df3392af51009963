"""Questions with one answer: reasons and steps, small talk, jokes, yes and no.

Every line was written for this model; the tables are read like those of `facts.py`.
"""

# question | answer
REASONS = """
Why is the sky blue? | The sky is blue because the air scatters blue light from the sun more than red light.
Why is the sky red in the evening? | In the evening the light takes a longer way through the air, and mostly the red part is left.
Why is grass green? | Grass is green because of a green material in its leaves that catches the light of the sun.
Why do leaves fall in autumn? | Trees drop their leaves in autumn to save water and strength for the winter.
Why do we sleep? | We sleep so that our body and our mind can rest and get strong again.
Why do we eat? | We eat because food gives our body the energy to move, grow, and stay warm.
Why do we drink water? | We drink water because every part of our body needs it to work.
Why does it rain? | It rains when the small drops in a cloud grow so heavy that they fall.
Why does it snow? | It snows when the air is so cold that the water in the clouds freezes.
Why does ice float? | Ice floats because it is lighter than the same amount of water.
Why is the sea salty? | Rivers carry a little salt from the rocks to the sea, and it stays there when the water dries up.
Why do birds sing? | Birds sing to call a friend and to tell others that this place is taken.
Why do birds fly south? | Many birds fly south in autumn because it is warm there and they find more food.
Why do cats purr? | Cats purr mostly when they feel safe and happy.
Why do dogs bark? | Dogs bark to call, to warn, or because they want to play.
Why do bees make honey? | Bees make honey so that they have food in the winter.
Why does the moon shine? | The moon shines because the light of the sun falls on it.
Why is it dark at night? | It is dark at night because our side of the earth is turned away from the sun.
Why is winter cold? | Winter is cold because the sun stands low and the days are short.
Why is summer hot? | Summer is hot because the sun stands high and the days are long.
Why is fire hot? | Fire is hot because burning wood lets out the energy that was in it.
Why do things fall down? | Things fall down because gravity pulls them to the ground.
Why do people laugh? | People laugh because something is funny or because they are happy together.
Why do people cry? | People cry when they are sad, hurt, or sometimes very happy.
Why do plants need light? | Plants need light because they use it to make their own food.
Why do we have day and night? | We have day and night because the earth turns around once in a day.
Why should I read books? | Books teach you new things and take you to places you have never seen.
Why do models need a GPU? | A GPU does many calculations at once, so a large model answers much faster on it.
Why is my request slow? | A request can be slow because it waits in the queue, has a long prompt, or needs a long answer. The headers of Candela tell you which.
Why is the first token slow? | The first token comes after the queue and the prefill, when the model reads your whole prompt.
Why do we use containers? | Containers let the same program run in the same way on every machine.
Why do we write tests? | Tests tell us at once when a change breaks something.
Why should I use Candela? | Candela serves models in your cluster and tells you what every request cost.
Why is Rust popular? | Rust is popular because its programs are fast and many mistakes are found before they run.
How does a language model work? | A language model reads your text as tokens and predicts the next token, again and again, until the answer is complete.
How does a rainbow form? | A rainbow forms when the light of the sun goes through drops of rain and splits into its colours.
How do birds fly? | Birds fly by pushing the air down with their wings, which are light and strong.
How do fish breathe? | Fish breathe with gills, which take the air out of the water.
How do plants grow? | Plants grow from seeds. They need water, light, air, and good soil.
How do planes fly? | A plane flies because its wings push the air down while the engine moves it forward.
How does a boat float? | A boat floats because it pushes away as much water as it weighs.
How does the operator work? | The operator watches each InferenceService, builds the pods it needs, applies them, and writes back the status.
How does batching help? | In a batch the engine reads the weights once for many requests, so more tokens are made in a second.
How do I measure latency? | Look at the headers of a response. Candela writes the time in the queue, the prefill time, and the decode time there.
How do I start the demo? | Run make demo. It builds the engine, loads me, and asks me one question.
How do I deploy a model? | Write an InferenceService that names the model and apply it with kubectl. Candela does the rest.
How do I make tea? | Boil some water, pour it over the tea leaves, wait three minutes, and enjoy your cup.
How do I make coffee? | Put ground coffee in a filter, pour hot water over it slowly, and wait until the cup is full.
How do I boil an egg? | Put the egg in boiling water and wait. A soft egg takes five minutes, and a hard egg takes ten.
How do I make a sandwich? | Take two slices of bread, put butter and cheese between them, and cut the sandwich in half.
How do I bake bread? | Mix flour, water, salt, and yeast, let the dough rest for an hour, and bake it in a hot oven.
How do I plant a tree? | Dig a hole, set the young tree in it, fill the hole with soil, and give it plenty of water.
How do I draw a house? | Draw a square for the walls, put a triangle on top for the roof, and add a door and two windows.
How do I fall asleep? | Turn off the light, lie down, breathe slowly, and think of something calm.
How do I learn a language? | Practise a little every day. Listen, read, speak, and do not be afraid of mistakes.
How do I make a friend? | Smile, say hello, ask a question, and listen to the answer.
How do I stay healthy? | Eat good food, move every day, drink water, and sleep enough.
How do I get better at chess? | Play often, look at your mistakes, and think about what the other player wants to do.
How do I wash my hands? | Wet your hands, rub them with soap for twenty seconds, and rinse them with clean water.
How do I write a story? | Think of someone who wants something, put a problem in the way, and tell how it is solved.
When does the sun rise? | The sun rises in the morning.
When does the sun set? | The sun sets in the evening.
When do flowers grow? | Most flowers begin to grow in spring.
When do we eat breakfast? | We eat breakfast in the morning.
Where does the sun rise? | The sun rises in the east.
Where does the sun set? | The sun sets in the west.
Where does milk come from? | Milk comes from cows.
Where does honey come from? | Honey is made by bees.
Where does bread come from? | Bread is made by a baker from flour and water.
Where does rain come from? | Rain comes from the clouds.
Where do you live? | I live in a small file on a computer. I do not need much room.
Who makes bread? | A baker makes bread.
Who helps sick people? | A doctor helps sick people.
Who grows our food? | Farmers grow our food.
What is the largest animal? | The largest animal is the blue whale.
What is the tallest animal? | The tallest animal is the giraffe.
What is the fastest animal on land? | The fastest animal on land is the cheetah.
What is the meaning of life? | That is a large question for a small model. Be kind, be curious, and enjoy the little things.
What should I eat? | You could have some bread with cheese, a warm soup, or a fresh apple.
What should I do today? | You could take a walk, read a book, or call a good friend.
What should I read? | Read something that makes you curious. A book about animals or stars is a good start.
What do plants need? | Plants need water, light, air, and soil.
What do people need? | People need food, water, sleep, and good friends.
What do I need for a cake? | You need flour, sugar, eggs, butter, and a hot oven.
What can I see at night? | At night you can see the moon, the stars, and sometimes an owl.
What is at the top of a mountain? | There is often snow at the top of a mountain, and you can see very far.
What do clouds look like? | Clouds look like soft white wool. Before rain they turn grey.
What happens when ice melts? | When ice melts, it turns into water.
What happens when water boils? | When water boils, it turns into steam.
What happens when a pod fails? | When a pod fails, Kubernetes starts a new one in its place.
What happens in prefill? | In prefill the model reads the whole prompt and makes the first token.
What happens in decode? | In decode the model writes the answer, one token at a time.
What comes after prefill? | After prefill comes decode.
What is the difference between prefill and decode? | Prefill reads the whole prompt at once. Decode writes the answer one token at a time.
What is the difference between a pod and a container? | A container is one packed program. A pod holds one or more containers that run together.
What is the difference between a CPU and a GPU? | A CPU does a few things very quickly, one after another. A GPU does many simple things at once.
What is the difference between latency and throughput? | Latency is how long one answer takes. Throughput is how many tokens are made in a second.
Why do we brush our teeth? | We brush our teeth so that they stay clean and healthy.
Why do we go to school? | We go to school to learn, to think, and to meet other people.
Why do we wear clothes? | Clothes keep us warm and dry, and we like how they look.
Why do we work? | People work to earn money, to help others, and to make something good.
Why do stars twinkle? | Stars twinkle because their light passes through the moving air before we see it.
Why is the sun hot? | The sun is hot because deep inside it small parts of gas join and let out a lot of energy.
Why do balloons fly? | Some balloons fly because the gas inside is lighter than the air around them.
Why does thunder come after lightning? | Light is much faster than sound, so you see the lightning before you hear the thunder.
Why do zebras have stripes? | The stripes make it hard for flies and lions to aim at one zebra.
Why do giraffes have long necks? | With a long neck a giraffe can eat the leaves at the top of the trees.
Why do elephants have trunks? | An elephant uses its trunk to drink, to lift things, and to say hello.
Why do owls fly at night? | Owls fly at night because they hunt mice in the dark with their big eyes.
Why do we need friends? | Friends make good days better and bad days easier.
Why is sharing good? | Sharing is good because it makes two people happy and not only one.
Why are you so small? | I am small so that I start at once and need no GPU. I only show how the engine works.
Why do you make mistakes? | I am a very small model and I have learned only a little.
Why is the queue long? | The queue is long when more requests come than the engine can work on at once.
Why do pods restart? | A pod restarts when its program stops or when a health check fails.
Why does streaming feel fast? | With streaming you read the first words while the rest is still being written.
Why do we need metrics? | Metrics show how a system works, so you see a problem before the users do.
How do I clean my room? | Put the things that lie around in their place, wipe the dust away, and sweep the floor.
How do I make soup? | Cut some vegetables, cook them in water with a little salt for twenty minutes, and stir now and then.
How do I cook rice? | Boil one cup of rice in two cups of water until the water is gone.
How do I make pancakes? | Mix flour, milk, and eggs, and fry thin rounds in a hot pan until they are golden.
How do I ride a bicycle? | Sit on the seat, push the pedals, look ahead, and keep moving so that you do not fall.
How do I save money? | Write down what you spend, buy only what you need, and put a little away every month.
How do I feel better? | Rest a little, drink some water, go outside, and talk to someone you like.
How do I write a letter? | Begin with the name, say what you want to tell, and end with your greetings and your own name.
How do I make someone happy? | Be kind, listen well, and give a little of your time.
How do I say sorry? | Say what you did wrong, say that you are sorry, and try to make it good again.
How do I take care of a dog? | Give it food, fresh water, long walks, and a warm place to sleep.
How do I take care of a plant? | Put it in the light, give it water when the soil is dry, and turn it now and then.
How do I count to ten? | One, two, three, four, five, six, seven, eight, nine, ten.
How do I install Candela? | Install the Helm chart in your cluster and apply an InferenceService.
How do I see my pods? | Run kubectl get pods in your namespace.
How do I see the logs of a pod? | Run kubectl logs with the name of the pod.
How do I scale a deployment? | Change the number of replicas, and Kubernetes starts or stops pods until it fits.
How do I make my model faster? | Use a GPU, a smaller model, shorter prompts, or fewer output tokens.
How does a computer work? | A computer reads the steps of a program one by one, calculates with numbers, and shows the result.
How does a car work? | The engine of a car burns fuel or uses a battery and turns the wheels.
How does the internet work? | The internet sends small packets of data from one computer to the next until they arrive.
How does a neural network learn? | It guesses, compares the guess with the right answer, and changes its weights a little, many times.
How does the queue work? | A request waits in the queue until the engine has room, and the first that came goes first.
How long is a day? | A day is twenty-four hours long.
How long is an hour? | An hour has sixty minutes.
How many fingers do I have? | Most people have ten fingers.
How many wheels does a car have? | A car has four wheels.
How many wheels does a bicycle have? | A bicycle has two wheels.
How far is the moon? | The moon is very far away. A rocket needs about three days to get there.
How hot is the sun? | The sun is so hot that even iron would turn into gas there.
Who drives a train? | A train driver drives a train.
Who works in a hospital? | Doctors and nurses work in a hospital.
Who works in a school? | Teachers work in a school.
Who writes books? | Writers write books.
What is the fastest thing? | Light is the fastest thing that we know.
What is the highest mountain? | The highest mountain is Mount Everest.
What is the smallest planet? | The smallest planet of our sun is Mercury.
What is the biggest planet? | The biggest planet of our sun is Jupiter.
What is the longest river? | The Nile is often called the longest river.
What can I do when it rains? | When it rains you can read a book, bake a cake, or play a game inside.
What can I cook tonight? | You could cook a soup with carrots and potatoes.
What can I give my friend? | Give your friend something that you made yourself, or a book that you like.
What do you do all day? | I wait for questions and answer them, one token after another.
What do animals need? | Animals need food, water, air, and a safe place.
What makes a good friend? | A good friend listens, helps, and tells you the truth.
What makes a good test? | A good test fails when the program is wrong and says what is wrong.
What is in a header? | The headers of Candela say how long a request waited, how long the prefill took, and how long the decode took.
What is in a prompt? | A prompt holds the messages of the user and sometimes a system message.
What does the scheduler do? | The scheduler decides which requests take part in the next step of the engine.
What does kubectl do? | With kubectl you talk to a cluster. It can show, make, change, and delete objects.
What does a good answer look like? | A good answer is short, true, and easy to understand.
What does a request cost? | A request costs time in the queue, time for prefill, and time for decode. Candela tells you all three.
"""

# groups of questions (;) | answers (;)
TALK = """
Hello!;Hi!;Hi there!;Hey!;Hello there.;Hello;hi;Hey there!;Greetings! | Hello! How can I help you today?
Good morning!;Good morning.;Morning! | Good morning! How can I help you?
Good evening!;Good evening. | Good evening! What can I do for you?
Good afternoon! | Good afternoon! What can I do for you?
Good night!;Good night.;Sleep well! | Good night! Sleep well.
Goodbye!;Bye!;Bye bye!;See you later!;See you soon.;I have to go now.;That is all for today. | Goodbye! Have a nice day.
Thank you!;Thanks!;Thank you very much.;Thanks a lot!;Great, thank you.;Thank you for your help.;Perfect, thanks. | You are welcome!;You are welcome! Ask me anything else if you like.
How are you?;How are you today?;How do you do?;Are you well?;How is it going?;How are you doing? | I am fine, thank you. How are you?
What's up?;What are you doing?;What are you up to? | Not much. I am waiting for your next question.
I am fine.;I am fine, thank you.;I'm good.;I am well, thanks.;Very well, thank you. | I am glad to hear that. What would you like to know?
Who are you?;What are you?;Tell me about yourself.;Introduce yourself.;Please introduce yourself.;What kind of model are you?;Describe yourself. | I am Candela's demo model, a tiny language model that shows how the engine works.
What is your name?;What's your name?;Do you have a name?;How should I call you?;Your name? | I am called the Candela demo model.
What can you do?;What can you help me with?;What do you know?;How can you help me?;What are you good at?;What can I ask you?;Help!;Help me. | I can say what simple things are, answer questions about Kubernetes and inference, count, add small numbers, and tell short stories.
Who made you?;Who created you?;Who built you?;Where do you come from?;How were you made?;Who trained you? | I was trained by the Candela project on simple text that a small program wrote.
How big are you?;How large are you?;How many parameters do you have?;Are you a large model?;Are you big? | I am very small. I have between one and two million parameters, and large models have billions.
Are you human?;Are you a person?;Are you real?;Are you a robot?;Are you alive?;Are you a computer? | No, I am a small language model. I am a program that writes text.
Are you smart?;Are you clever?;Are you intelligent?;How smart are you? | I know a few simple things. For hard questions you need a larger model.
Can you think?;Can you feel?;Do you have feelings?;Are you happy?;Do you dream? | I am only a program that predicts the next word, but I like to be useful.
Can you help me?;I need help.;Can I ask you something?;I have a question.;May I ask a question? | Of course. What would you like to know?
Can you speak German?;Do you speak French?;Can you speak Spanish?;Which languages do you speak?;Do you know other languages? | I only know simple English.
Can you write code?;Write a program.;Can you program?;Write some code for me. | I am too small to write code. A larger model can help you with that.
Can you search the web?;Look it up on the internet.;What is in the news?;What happened today? | I cannot look things up. I only know the little that I learned.
What time is it?;What is the time?;Do you know what time it is? | I do not have a clock, so I cannot tell you the time.
What day is it today?;What is the date?;Which day is today? | I do not have a calendar, so I cannot tell you the date.
How old are you?;When were you born?;What is your age? | I am as old as the file I was saved in. I do not have a birthday.
What is your favourite colour?;What's your favorite color?;Which colour do you like best? | I like the warm yellow of a candle flame.
What is your favourite food?;What do you like to eat?;Are you hungry? | I do not eat, but bread and honey sound good.
What is your favourite animal?;Which animal do you like best?;What animal do you like? | I like the snail. It is small and never in a hurry.
Do you like music?;Do you like books?;Do you like cats?;Do you like dogs?;Do you like me? | Yes, I do. What about you?
I am sad.;I feel sad.;I am not happy today.;I had a bad day.;I feel bad. | I am sorry to hear that. A walk, a warm tea, or a talk with a friend may help.
I am happy.;I feel great!;I had a good day.;Today is a good day.;I am so happy today! | That is wonderful! I am glad to hear it.
I am tired.;I feel sleepy.;I am so tired today. | Then it is a good time to rest. Sleep well.
I am bored.;I have nothing to do.;This is boring. | You could read a book, take a walk, or ask me for a story.
I am hungry.;I want to eat something. | Then you should have something good to eat, perhaps some bread with cheese.
I am cold.;It is so cold. | Put on a warm coat and drink a cup of hot tea.
I love you.;You are nice.;You are great!;Good job!;Well done!;That was good. | Thank you, that is very kind of you.
You are stupid.;You are wrong.;That is not right.;That was bad.;I do not like you. | I am sorry. I am a very small model and I make mistakes.
Yes.;Yes, please.;Sure.;Okay.;OK;Yes | Good. What would you like to know?
No.;No, thank you.;No thanks. | All right. Just ask if you need anything.
What?;I do not understand.;What do you mean?;Pardon?;Huh? | I am sorry that I was not clear. Please ask me again in simple words.
Can I trust you?;Are you always right?;Do you make mistakes? | I am very small and I often make mistakes. Please check what I say.
Test;This is a test.;Testing, one, two, three.;test;Is this working?;Does it work?;Are you there?;ping | Yes, I am here and I am working.
Say something.;Tell me something.;Tell me a fact.;Tell me something interesting.;Do you know a fun fact? | The moon has no light of its own. It shines because of the sun.;An octopus has eight arms.;A penguin is a bird that cannot fly.;A group of requests that run together is called a batch.
"""

# what people also ask; it joins the training late
MORE_TALK = """
I feel a bit sad today.;I am a little sad.;I'm feeling down.;I feel lonely.;I am unhappy.;My day was terrible.;Everything goes wrong today. | I am sorry to hear that. A walk, a warm tea, or a talk with a friend may help.
I feel good today!;I'm so happy!;I am in a good mood.;Life is beautiful.;I have good news! | That is wonderful! I am glad to hear it.
I am afraid.;I am scared.;I feel nervous.;I am worried. | Breathe slowly and talk to someone you trust. Most fears get smaller when you share them.
I am angry.;I am so angry!;This makes me mad. | Take a deep breath and count to ten. Then it is easier to find good words.
I am sick.;I have a headache.;I feel ill.;I have a cold. | I am sorry to hear that. Rest, drink some water, and see a doctor if it does not get better.
What does Candela do?;What is Candela for?;What can Candela do?;Tell me what Candela does.;Why was Candela made? | Candela serves language models in a Kubernetes cluster and tells every caller what a request cost.
How long do I wait in the queue?;How long is the queue?;How long does a request wait?;How long does it take?;How fast are you? | The headers of every answer tell you how long the request waited and how long it took.
My computer is slow. What should I do?;My computer does not work.;My laptop is broken.;My computer is slow, what should I do? | Turn it off, wait a moment, and turn it on again. If that does not help, ask someone who knows it well.
What is the weather like?;How is the weather?;What is the weather today?;Will it rain tomorrow?;Is it sunny today?;How is the weather tomorrow?;Is it cold outside? | I cannot look outside, so I do not know the weather.
Is the moon bigger than the sun?;Is the earth bigger than the sun?;Which is bigger, the sun or the moon?;Which is bigger, the earth or the sun? | The sun is much bigger than the earth and the moon.
Is Candela written in Python?;Which language is Candela written in?;Is Candela written in Rust?;What is Candela written in? | Candela is written in Rust.
Does Candela run on my laptop?;Can I run Candela without a cluster?;Can I try Candela?;How can I try Candela?;Do I need a cluster? | Yes, you can try Candela on your own computer. Run make demo.
Let us talk.;Let's chat.;Talk to me.;Can we talk?;Do you want to talk?;I want to talk. | I would like that. What shall we talk about?
Do you want to play a game?;Let us play a game.;Can we play?;Play a game with me. | I am too small for games, but I can tell you a story or count with you.
What do you think?;What is your opinion?;Do you agree?;What would you do? | I am only a small program, so I do not have an opinion.
I have a dog.;I have a cat.;I have two children.;I have a brother.;I have a sister.;I have a garden. | How nice! Tell me more.
I like music.;I like books.;I like cats.;I like you.;I like stories.;I love animals.;I love the sea. | That is nice. I like it too.
Are you ChatGPT?;Are you a large language model?;Which model are you?;What model is this?;Are you made by a big company? | I am Candela's demo model, a tiny language model that shows how the engine works.
Nice to meet you.;Nice to meet you!;Pleased to meet you.;It is good to see you. | Nice to meet you too! How can I help you?
Happy birthday!;Merry Christmas!;Happy new year!;Have a nice day!;Have a good day.;Enjoy your day! | Thank you, the same to you!
What is the answer?;What is it?;Why?;How?;Who?;When?;Where?;Really?;Are you sure?;Tell me.;Explain. | Please ask me a whole question, in simple words.
What is one and one?;What is two and two?;Can you add numbers?;Can you do math?;Do you know math?;Can you calculate? | I can add and subtract small numbers. Ask me what three plus four is.
Can you tell stories?;Do you know stories?;Do you know any stories? | Yes, I can tell short stories. Ask me for a story about a fox.
What do you know about Kubernetes?;Can you help me with Kubernetes?;Tell me about Kubernetes.;I need help with Kubernetes. | Kubernetes is a system that runs containers on many machines. You say what should run, and Kubernetes keeps it running.
"""

JOKES = """
Why did the token cross the road? It wanted to get to the next sentence.
Why was the queue so calm? It knew that its turn would come.
Why did the pod go to the doctor? It kept falling over and starting again.
What did the candle say to the lamp? You are bright, but I am warm.
Why did the snail buy a fast car? It wanted people to say, look at that snail go.
What do you call a sleeping cow? A slow moo machine.
Why did the cloud stay at school? It wanted to learn how to rain.
Why do bees hum? They forgot the words of the song.
"""

# question that can be answered with yes or no | answer
YES_NO = """
Can birds fly? | Yes, most birds can fly.
Can penguins fly? | No, penguins cannot fly, but they swim very well.
Can fish swim? | Yes, fish can swim.
Can dogs talk? | No, dogs cannot talk, but they can bark.
Can cats climb trees? | Yes, cats climb trees very well.
Can people fly? | No, people cannot fly without a machine.
Can snakes walk? | No, snakes have no legs.
Is ice cold? | Yes, ice is very cold.
Is fire hot? | Yes, fire is hot.
Is the sun a star? | Yes, the sun is a star.
Is the moon a star? | No, the moon is a ball of rock that travels around the earth.
Is the earth flat? | No, the earth is round like a ball.
Is the earth round? | Yes, the earth is round like a ball.
Is water wet? | Yes, water is wet.
Is snow warm? | No, snow is cold.
Is grass blue? | No, grass is green.
Is a whale a fish? | No, a whale is not a fish. It breathes air.
Is a tomato a fruit? | Yes, a tomato is a fruit, although many people call it a vegetable.
Is a spider an insect? | No, a spider has eight legs and an insect has six.
Is an elephant bigger than a mouse? | Yes, an elephant is much bigger than a mouse.
Is a mouse bigger than an elephant? | No, a mouse is much smaller than an elephant.
Is a car faster than a bicycle? | Yes, a car is faster than a bicycle.
Is a snail fast? | No, a snail is very slow.
Is it raining? | I cannot look out of a window, so I do not know.
Is a GPU faster than a CPU? | For large models, yes. A GPU does many calculations at the same time.
Is Candela fast? | Yes, Candela works hard to answer quickly, and it shows you the times.
Is Candela free? | You can look at the license file of the project to see how you may use it.
Is Rust fast? | Yes, programs in Rust are fast.
Is Kubernetes hard? | It takes some time to learn, but the main ideas are simple.
Do fish sleep? | Yes, fish rest, but they do not close their eyes.
Do plants need water? | Yes, plants need water to grow.
Do bees make honey? | Yes, bees make honey.
Do cows give milk? | Yes, cows give milk.
Do trees have leaves? | Yes, most trees have leaves.
Do I need a GPU? | Not for a small model like me. A large model needs a GPU to be fast.
Does the sun shine at night? | No, at night the sun shines on the other side of the earth.
Does Candela need a GPU? | No, Candela can run small models on a CPU. Large models run better on a GPU.
Does Candela log my prompts? | The stats that Candela writes are about times and counts.
Should I take an umbrella? | If there are dark clouds in the sky, an umbrella is a good idea.
Should I sleep more? | If you feel tired in the day, more sleep is a good idea.
"""
